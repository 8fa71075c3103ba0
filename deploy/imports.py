"""Imports whatever our code imports anywhere, late too: the image's build fails where slim.sh removed what one needs.

Usage: python deploy/imports.py litgo_pipelines
"""

import ast
import importlib
import sys
from pathlib import Path

# Not in the image: of extras and of who develops it.
OPTIONAL = {"boto3", "dagster_aws", "grafana_foundation_sdk", "_typeshed"}
# What containers start by a command, and no import names.
COMMANDS = (
    "celery.bin.celery",
    "dagster._daemon.cli",
    "dagster_celery.app",
    "distributed.cli",
    "mlflow.cli",
    "mlflow.server.auth",
)

named = dict.fromkeys(COMMANDS, "a command")
for path in Path(sys.argv[1]).rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            named |= {alias.name: str(path) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named[node.module] = str(path)
failed = []
for name, where in named.items():
    if name.split(".")[0] not in OPTIONAL | {Path(sys.argv[1]).name}:
        try:
            importlib.import_module(name)
        except ImportError as error:
            failed.append(f"{where}: {name}: {error}")
sys.exit("\n".join(failed) or 0)
