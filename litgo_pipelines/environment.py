"""Environment of child processes: which of this process's variables a child gets, as patterns of their names.

Belongs here: what any program, or any Python of ours, is known to need; no key is among it. Does not belong here: what
the variables mean (settings), and what one service needs besides.
"""

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase

OF_PROGRAMS = ("HOME", "LANG", "LANGUAGE", "LC_*", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
OF_PYTHON = (*OF_PROGRAMS, "MALLOC_*", "OMP_NUM_THREADS", "PYTHON*", "VIRTUAL_ENV")


def passed_on(*patterns: str, of: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables whose name fits one of the patterns. `of`: of these instead of this process's."""
    return {
        name: value
        for name, value in (os.environ if of is None else of).items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
