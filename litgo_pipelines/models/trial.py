"""A scorer's text parsed by a process of its own: what LightGBM makes of it may abort or hang, and must not do so here.

python -m litgo_pipelines.models.trial < FILE
"""

import subprocess
import sys

from litgo_pipelines.environment import OF_PYTHON, passed_on
from litgo_pipelines.models import scorer
from litgo_pipelines.models.scorer import ScorerDamaged

SECONDS = 120.0  # on a machine that does much else; usually 2
# Optional companions of LightGBM that a scorer of arrays needs none of: three quarters of the child's time
UNUSED = ("cffi", "dask", "matplotlib", "pandas", "pyarrow", "sklearn")


def try_in_child(text: str, seconds: float = SECONDS) -> None:
    """Raises ScorerDamaged unless the text is a scorer that gives two rows finite scores within the time."""
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(
            command, input=text.encode(), env=passed_on(*OF_PYTHON), capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ScorerDamaged(f"the model was not parsed within {seconds:.0f} s") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1][:300]
        raise ScorerDamaged(f"the model cannot be parsed: a process that tried ended with {done.returncode} ({said})")


def main() -> None:
    sys.modules.update(dict.fromkeys(UNUSED))  # type: ignore[arg-type]  # None: such an import fails at once

    import numpy as np

    found = scorer.loads(sys.stdin.buffer.read().decode())
    scores = found.scores(np.array([[0.0], [1.0]]).repeat(len(found.names), axis=1))
    if scores.shape != (2,) or not np.isfinite(scores).all():
        raise ScorerDamaged("no finite score for each row")


if __name__ == "__main__":
    main()
