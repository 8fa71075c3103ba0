"""Imports of the process that runs are forked from: the definitions, all modules, and what they load late.

Imported by the code server's fork server only. Nothing here may start a thread or open a connection or a file: each
run would inherit it.
"""

import gc
import importlib
import os
import pkgutil
import random
import sys

import litgo_pipelines

LATE = (
    "httpx2",
    "lightgbm",
    "matplotlib.pyplot",
    "mlflow.tracking",
    "numpy",
    "pandas",
    "psycopg2.extras",
    "scipy.sparse",
    "sqlalchemy",
    "tenacity",
)
OPENAI = ("openai", "openai.resources.chat", "openai.resources.embeddings")  # a second, where a key says it is used
NOT_OF_RUNS = ("cli", "tools", "runtime", "simulation")


def import_all() -> list[str]:
    """Import what runs need; the modules that could not be, as an extra is not installed."""
    missing = []
    ours = (module.name for module in pkgutil.walk_packages(litgo_pipelines.__path__, "litgo_pipelines."))
    late = (*LATE, *OPENAI) if os.environ.get("OPENAI_API_KEY") else LATE
    for name in (*late, *(name for name in ours if name.split(".")[1] not in NOT_OF_RUNS)):
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing


def reseed() -> None:
    """Randomness of its own for each run: forked processes would all draw the same numbers."""
    import numpy as np

    random.seed()
    np.random.seed()


import_all()
importlib.import_module("litgo_pipelines.definitions").defs.get_repository_def()
os.register_at_fork(after_in_child=reseed)
try:
    importlib.import_module("litgo_pipelines.intake.danger").judge("aviso")  # loads the encoder and the recogniser
except ImportError as error:  # an extra is not installed: runs that need it say so
    print(f"runs start without the recogniser of danger: {error}", file=sys.stderr, flush=True)
finally:
    gc.collect()
    gc.freeze()  # else the first collection in each run copies what it shares with the others
