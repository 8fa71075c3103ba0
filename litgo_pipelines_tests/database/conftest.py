from litgo_pipelines_tests.worlds.own_server import folder  # noqa: F401
