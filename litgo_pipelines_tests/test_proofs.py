"""A proof is left out only while everything it names is as it was when it passed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from litgo_pipelines_tests import proofs


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one proof of the folder `part` and of the file `one.yaml`."""
    for name, content in {
        "part/a.py": "1",
        "part/deep/b.sql": "2",
        "one.yaml": "3",
        "other.py": "4",
        "tests/test_it.py": "5",
        **dict.fromkeys(proofs.ALWAYS, "6"),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(proofs, "ROOT", tmp_path)
    return tmp_path


def digest(tree: Path) -> str:
    return proofs.digest(tree / "tests" / "test_it.py", ("part", "one.yaml"))


@pytest.mark.parametrize("changed", ["part/a.py", "part/deep/b.sql", "one.yaml", "tests/test_it.py", *proofs.ALWAYS])
def test_whatever_it_depends_on_makes_it_run_again(tree: Path, changed: str) -> None:
    before = digest(tree)
    (tree / changed).write_text("changed")
    assert digest(tree) != before


def test_so_does_a_new_a_lost_and_a_renamed_file_but_nothing_else(tree: Path) -> None:
    before = digest(tree)
    (tree / "other.py").write_text("changed")
    (tree / "part" / "__pycache__").mkdir()
    (tree / "part" / "__pycache__" / "a.pyc").write_text("compiled")
    assert digest(tree) == before
    (tree / "part" / "a.py").rename(tree / "part" / "c.py")
    renamed = digest(tree)
    (tree / "part" / "c.py").unlink()
    lost = digest(tree)
    (tree / "part" / "new.py").write_text("")
    assert len({before, renamed, lost, digest(tree)}) == 4


def test_an_input_that_is_not_there_is_an_error(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        proofs.digest(tree / "tests" / "test_it.py", ("gone",))


PROJECT = """
import pytest
pytest_plugins = ()
from litgo_pipelines_tests import proofs
proofs.ROOT = proofs.Path(__file__).parent
proofs.RECORD = proofs.ROOT / "proofs.json"
proofs.ALWAYS, proofs.EVERYTHING = (), ("one.yaml", "two.yaml")
def pytest_configure(config):
    config.addinivalue_line("markers", "proof(inputs): one")
    config.addinivalue_line("markers", "slow: one")
    config.pluginmanager.register(proofs.Recorder()) if "RECORD" in __import__("os").environ else None
def pytest_collection_modifyitems(items):
    proofs.skip_proven(items)
"""
PROOF = "import pytest\n@pytest.mark.proof('one.yaml')\ndef test_a():\n    assert 'good' in open('one.yaml').read()\n"


SLOW = "import pytest\n@pytest.mark.slow\ndef test_b():\n    pass\ndef test_fast():\n    pass\n"


def run(folder: Path, **environment: str) -> str:
    """The closing line of pytest in a project of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", folder, folder],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if name != "LITGO_PROOFS"},
            "PYTHONPATH": str(Path(__file__).parents[1]),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip().splitlines()[-1]


def test_what_passed_is_left_out_until_it_changes_and_what_failed_is_never_written_down(tmp_path: Path) -> None:
    for name, text in {
        "conftest.py": PROJECT,
        "test_it.py": PROOF,
        "one.yaml": "good",
        "pytest.ini": "[pytest]",
    }.items():
        (tmp_path / name).write_text(text)
    assert "1 passed" in run(tmp_path)
    assert "1 passed" in run(tmp_path, RECORD="1", LITGO_PROOFS="all")
    assert set(json.loads((tmp_path / "proofs.json").read_text())) == {"test_it.py"}
    assert "1 skipped" in run(tmp_path)
    assert "1 passed" in run(tmp_path, LITGO_PROOFS="all")
    known = (tmp_path / "proofs.json").read_text()
    (tmp_path / "one.yaml").write_text("bad")
    assert "1 failed" in run(tmp_path)
    assert "1 failed" in run(tmp_path, RECORD="1", LITGO_PROOFS="all")
    assert (tmp_path / "proofs.json").read_text() == known


def test_a_slow_test_that_names_nothing_depends_on_everything_and_a_fast_one_always_runs(tmp_path: Path) -> None:
    for name, text in {
        "conftest.py": PROJECT,
        "test_it.py": PROOF + SLOW,
        "one.yaml": "good",
        "two.yaml": "",
        "pytest.ini": "[pytest]",
    }.items():
        (tmp_path / name).write_text(text)
    assert "3 passed" in run(tmp_path, RECORD="1", LITGO_PROOFS="all")
    assert "1 passed, 2 skipped" in run(tmp_path)
    (tmp_path / "two.yaml").write_text("changed")
    assert "2 passed, 1 skipped" in run(tmp_path)
