"""Long proofs that run when their inputs change: killed daemons and runs, a dead database, Dask's workers.

    @pytest.mark.proof("litgo_pipelines/runtime", "dagster.yaml")     # files and folders it depends on

`proofs.json` says with which inputs each module's proofs passed, and when. While those are the inputs, its proofs are
skipped and say so. `LITGO_PROOFS=all` runs them anyway; `make proofs` runs them and writes the file.
"""

import hashlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).with_name("proofs.json")
ALWAYS = ("requirements.lock", "litgo_pipelines_tests/support.py")


def digest(module: Path, inputs: tuple[str, ...]) -> str:
    """SHA-256 over names and contents of the test module, what its marker names, and the locked versions."""
    files = {module}
    for name in (*inputs, *ALWAYS):
        path = ROOT / name
        if not path.exists():
            raise FileNotFoundError(f"{module.name}: the proof's input {name} does not exist")
        files |= {each for each in path.rglob("*") if each.is_file()} if path.is_dir() else {path}
    found = hashlib.sha256()
    for file in sorted(files):
        if "__pycache__" not in file.parts:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            found.update(f"{file.relative_to(ROOT)} {content}\n".encode())
    return found.hexdigest()


def recorded() -> dict[str, dict[str, str]]:
    """Test module → inputs (a digest), passed (a date)."""
    found: dict[str, dict[str, str]] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return found


def skip_proven(items: list[pytest.Item]) -> None:
    """Mark what passed with the inputs of now to be skipped."""
    if os.environ.get("LITGO_PROOFS") == "all":
        return
    known, digests = recorded(), dict[Path, str]()
    for item in items:
        if marker := item.get_closest_marker("proof"):
            if item.path not in digests:
                digests[item.path] = digest(item.path, marker.args)
            entry = known.get(item.path.relative_to(ROOT).as_posix())
            if entry and entry["inputs"] == digests[item.path]:
                reason = f"passed on {entry['passed']} with the inputs of now; LITGO_PROOFS=all runs it"
                item.add_marker(pytest.mark.skip(reason=reason))


class Recorder:
    """Writes down the modules whose proofs all ran and passed."""

    def __init__(self) -> None:
        self.passed: dict[str, bool] = {}
        self.inputs: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            if marker := item.get_closest_marker("proof"):
                name = item.path.relative_to(ROOT).as_posix()
                self.inputs[name] = digest(item.path, marker.args)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.split("::")[0]
        good = report.passed
        self.passed[name] = self.passed.get(name, True) and good

    def pytest_sessionfinish(self) -> None:
        today = datetime.now(UTC).date().isoformat()
        new = {name: {"inputs": self.inputs[name], "passed": today} for name, good in self.passed.items() if good}
        RECORD.write_text(json.dumps({**recorded(), **new}, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    os.environ["LITGO_PROOFS"] = "all"
    sys.exit(pytest.main(["-m", "proof", *sys.argv[1:]], plugins=[Recorder()]))
