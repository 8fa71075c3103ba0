"""Each Dagster step imports the definitions again: they must stay light."""

import subprocess
import sys

HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "mlflow",
    "lightgbm",
    "sklearn",
    "matplotlib",
    "pyarrow",
    "pandas",
    "scipy",
    "openai",
)


def test_no_heavy_library_and_no_connection_at_import() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('a connection at import')\n"
        "socket.socket.connect = refuse\n"
        "import litgo_pipelines.definitions\n"
        f"print(sorted(m for m in {HEAVY!r} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
