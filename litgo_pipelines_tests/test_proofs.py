"""A proof is left out only while everything it names is as it was when it passed."""

import json
from pathlib import Path

import pytest

from litgo_pipelines_tests import imports, proofs

pytest_plugins = ("pytester",)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one proof of the folder `part` and of the file `one.yaml`."""
    files = {
        "part/a.py": "1",
        "part/deep/b.sql": "2",
        "one.yaml": "3",
        "other.py": "4",
        "tests/test_it.py": "5",
        f"tests/{proofs.FORM}": "5",
        **dict.fromkeys(proofs.ALWAYS, "6"),
    }
    write(tmp_path, files)
    monkeypatch.setattr(proofs, "ROOT", tmp_path)
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    """Name below the folder → content."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def digest(tree: Path, module: str = "test_it.py") -> str:
    return proofs.digest(tree / "tests" / module, ("part", "one.yaml"))


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


def test_other_test_modules_count_for_the_types_only(tree: Path) -> None:
    other = tree / "part" / "test_other.py"
    before = digest(tree), digest(tree, proofs.FORM)
    other.write_text("")
    assert digest(tree) == before[0]
    assert digest(tree, proofs.FORM) != before[1]


def test_an_input_that_is_not_there_is_an_error(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        proofs.digest(tree / "tests" / "test_it.py", ("gone",))


def test_what_names_nothing_depends_on_what_it_imports_at_any_depth_and_on_the_data_beside(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "ROOT", tree)
    files = {
        "litgo_pipelines/near/a.py": "def f():\n    from litgo_pipelines.far import b",
        "litgo_pipelines/near/unused.py": "",
        "litgo_pipelines/far/b.py": "",
        "litgo_pipelines/far/b.csv": "",
        "litgo_pipelines/far/b.sql": "",
        "litgo_pipelines/nowhere/c.csv": "",
        "tests/test_it.py": "from litgo_pipelines.near.a import f",
        "tests/test_other.py": "",
    }
    write(tree, files)
    needed = {"litgo_pipelines/near/a.py", "litgo_pipelines/far/b.py", "litgo_pipelines/far/b.csv", "tests/test_it.py"}
    assert set(proofs.imported(tree / "tests" / "test_it.py")) == needed


PROJECT = """
from litgo_pipelines_tests import proofs
def pytest_configure(config):
    config.addinivalue_line("markers", "proof(inputs): one")
    config.addinivalue_line("markers", "slow: one")
    config.addinivalue_line("markers", "second_server: one")
    config.pluginmanager.register(proofs.Recorder()) if "RECORD" in __import__("os").environ else None
def pytest_collection_modifyitems(items):
    proofs.skip_proven(items)
"""
PROOF = "import pytest\n@pytest.mark.proof('one.yaml')\ndef test_a():\n    assert 'good' in open('one.yaml').read()\n"


SLOW = "import pytest\n@pytest.mark.slow\ndef test_b():\n    pass\ndef test_fast():\n    pass\n"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setattr(proofs, "ROOT", pytester.path)
    monkeypatch.setattr(proofs, "RECORD", pytester.path / "proofs.json")
    monkeypatch.setattr(proofs, "ALWAYS", ())
    monkeypatch.setattr(proofs, "EVERYTHING", ("one.yaml", "two.yaml"))
    (pytester.path / "conftest.py").write_text(PROJECT)
    (pytester.path / "pytest.ini").write_text("[pytest]")
    (pytester.path / "one.yaml").write_text("good")
    (pytester.path / "two.yaml").write_text("")
    return pytester


def run(project: pytest.Pytester, **environment: str) -> str:
    """The closing line of pytest in a project of its own, or the error that it begins with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LITGO_PROOFS", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        plugins = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest")
        ended = project.runpytest_inprocess("-q", *plugins)
        return ended.errlines[0] if ended.ret == pytest.ExitCode.USAGE_ERROR else ended.outlines[-1]


def test_what_passed_is_left_out_until_it_changes_and_what_failed_is_never_written_down(
    project: pytest.Pytester,
) -> None:
    (project.path / "test_it.py").write_text(PROOF)
    assert "1 passed" in run(project)
    assert "1 passed" in run(project, RECORD="1", LITGO_PROOFS="all")
    assert set(json.loads((project.path / "proofs.json").read_text())) == {"test_it.py"}
    assert "1 skipped" in run(project)
    assert "1 passed" in run(project, LITGO_PROOFS="all")
    known = (project.path / "proofs.json").read_text()
    (project.path / "one.yaml").write_text("bad")
    assert "1 failed" in run(project)
    assert "1 failed" in run(project, RECORD="1", LITGO_PROOFS="all")
    assert (project.path / "proofs.json").read_text() == known


def test_a_slow_test_that_names_nothing_depends_on_everything_and_a_fast_one_always_runs(
    project: pytest.Pytester,
) -> None:
    (project.path / "test_it.py").write_text(PROOF + SLOW)
    assert "3 passed" in run(project, RECORD="1", LITGO_PROOFS="all")
    assert "1 passed, 2 skipped" in run(project)
    (project.path / "two.yaml").write_text("changed")
    assert "2 passed, 1 skipped" in run(project)


def test_what_passed_on_two_servers_is_left_out_on_the_second_only(project: pytest.Pytester) -> None:
    servers = "['given', pytest.param('embedded', marks=pytest.mark.second_server)][: int(os.environ['SERVERS'])]"
    test = f"@pytest.mark.parametrize('server', {servers})\ndef test_a(server):\n    pass\n"
    (project.path / "test_it.py").write_text("import os\n" + SLOW + test)
    assert "3 passed" in run(project, SERVERS="1", RECORD="1", LITGO_PROOFS="all")
    assert "3 passed, 1 skipped" in run(project, SERVERS="2")
    assert "4 passed" in run(project, SERVERS="2", RECORD="1", LITGO_PROOFS="all")
    assert "2 passed, 2 skipped" in run(project, SERVERS="2")
    (project.path / "two.yaml").write_text("changed")
    assert "4 passed" in run(project, SERVERS="2")
    assert "3 passed" in run(project, SERVERS="1")


def test_proofs_of_a_module_that_name_different_inputs_are_refused_for_it_has_one_record(
    project: pytest.Pytester,
) -> None:
    (project.path / "test_it.py").write_text(PROOF + PROOF.replace("one", "two").replace("test_a", "test_b"))
    assert "all proofs of a module name the same inputs" in run(project)
