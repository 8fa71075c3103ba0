from litgo_pipelines.cli import main

main()
