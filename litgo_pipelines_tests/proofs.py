"""Proofs that run when their inputs change: killed daemons and runs, Dask's workers, pure functions, types.

    @pytest.mark.proof("litgo_pipelines/runtime", "workspace.yaml")     # files and folders it depends on
    @pytest.mark.proof                                                  # all that its module imports, data beside it

The second is for pure functions only: no import shows a migration, or a daemon that is started by its name.
A slow test that does not say what it depends on depends on EVERYTHING, and so does a fast one on its second server.
`proofs.json` says with which inputs each module's proofs passed, and when. While those are the inputs, its proofs are
skipped and say so. `LITGO_PROOFS=all` runs them anyway; `make proofs` runs them and writes the file.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from litgo_pipelines_tests import imports

ROOT = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).with_name("proofs.json")
EVERYTHING = (
    "litgo_pipelines",
    "litgo_pipelines_tests",
    "benchmarks",
    "deploy",
    "workspace.yaml",
    "pyproject.toml",
)
FORM = "test_static.py"  # of the code's form, tests included
ALWAYS = ("requirements.lock", "litgo_pipelines_tests/support.py")


def contents(path: Path) -> dict[Path, str]:
    """File → name and SHA-256, of a file or of all in a folder."""
    files = (each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return {
        file: f"{file.relative_to(ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n"
        for file in files
        if "__pycache__" not in file.parts and file != RECORD
    }


def digest(module: Path, inputs: tuple[str, ...], read: Callable[[Path], dict[Path, str]] = contents) -> str:
    """SHA-256 over names and contents of the test module, what its marker names, and the locked versions.

    Other test modules count for types only: no test imports one. `read`: `contents`, or what has read them already.
    """
    files = dict(read(module))
    for name in (*inputs, *ALWAYS):
        path = ROOT / name
        if not path.exists():
            raise FileNotFoundError(f"{module.name}: the proof's input {name} does not exist")
        files.update(read(path))
    found = hashlib.sha256()
    for file in sorted(files):
        if module.name == FORM or file == module or not file.name.startswith("test_"):
            found.update(files[file].encode())
    return found.hexdigest()


def recorded() -> dict[str, dict[str, str]]:
    """Test module → inputs (a digest), passed (a date)."""
    found: dict[str, dict[str, str]] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return found


@cache
def imported(module: Path) -> tuple[str, ...]:
    """All that a test module imports, at any depth, and the data beside it; no SQL, which pure functions do not run."""
    code = imports.closure(module)
    beside = {path for folder in {file.parent for file in code} for path in folder.iterdir() if path.is_file()}
    found = code | {path for path in beside if path.suffix not in (".py", ".sql")}
    return tuple(path.relative_to(ROOT).as_posix() for path in sorted(found))


def inputs(item: pytest.Item) -> tuple[str, ...] | None:
    """What a proof depends on; None for a test that always runs: a fast one, or one of the code's form."""
    if marker := item.get_closest_marker("proof"):
        return marker.args or imported(item.path)
    slow = item.get_closest_marker("slow") and item.path.name != FORM
    return EVERYTHING if slow or item.get_closest_marker("second_server") else None


def key(item: pytest.Item) -> str:
    """Its module's name in the record; those of a module that depend on everything stand apart from the others.

    Those on a second server too: they ran only if there were two when the record was made.
    """
    name = item.path.relative_to(ROOT).as_posix()
    if item.get_closest_marker("second_server"):
        return f"{name} on the second server"
    return name if item.get_closest_marker("proof") else f"{name} on everything"


def digests(items: list[pytest.Item]) -> dict[str, str]:
    """Module's name in the record → digest of its proofs' inputs, which are one list: it has one entry."""
    named, found, read = dict[str, tuple[str, ...]](), dict[str, str](), cache(contents)
    for item in items:
        if depends := inputs(item):
            if named.setdefault(key(item), depends) != depends:
                raise pytest.UsageError(f"{item.nodeid}: all proofs of a module name the same inputs, for one record")
            if key(item) not in found:
                found[key(item)] = digest(item.path, depends, read)
    return found


def skip_proven(items: list[pytest.Item]) -> None:
    """Mark what passed with the inputs of now to be skipped."""
    if os.environ.get("LITGO_PROOFS") == "all":
        return
    known, now = recorded(), digests(items)
    for item in items:
        if inputs(item) and (entry := known.get(key(item))) and entry["inputs"] == now[key(item)]:
            reason = f"passed on {entry['passed']} with the inputs of now; LITGO_PROOFS=all runs it"
            item.add_marker(pytest.mark.skip(reason=reason))


class Recorder:
    """Writes down the modules whose proofs all ran and passed."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}  # of each proof's id
        self.inputs: dict[str, str] = {}
        self.passed: dict[str, bool] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.inputs = digests(session.items)
        self.keys = {item.nodeid: key(item) for item in session.items if inputs(item)}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if name := self.keys.get(report.nodeid):
            self.passed[name] = self.passed.get(name, True) and report.passed

    def pytest_sessionfinish(self) -> None:
        today = datetime.now(UTC).date().isoformat()
        new = {name: {"inputs": self.inputs[name], "passed": today} for name, good in self.passed.items() if good}
        RECORD.write_text(json.dumps({**recorded(), **new}, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    os.environ["LITGO_PROOFS"] = "all"
    sys.exit(pytest.main(["-m", "proof or slow or second_server", *sys.argv[1:]], plugins=[Recorder()]))
