"""The lock files: complete, hashed, in step with pyproject.toml and with each other."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LEFT_OUT = {"sentence-transformers"}  # see [tool.uv] in pyproject.toml
EXTRAS = ("embeddings", "metrics", "scale", "traces")  # of both
LOCKS = ("requirements.lock", "deploy/requirements.lock")


def locked(file: str) -> dict[str, Requirement]:
    """Name → pinned requirement; every one of them has a hash."""
    found: dict[str, Requirement] = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / file).read_text(encoding="utf-8")):
        if not entry.startswith("#"):
            requirement = Requirement(entry.split("\\")[0].strip())
            assert "--hash=sha256:" in entry, entry
            found[canonicalize_name(requirement.name)] = requirement
    return found


def needed(requirements: list[str], extra: str = "") -> list[Requirement]:
    parsed = [Requirement(text) for text in requirements]
    return [one for one in parsed if one.marker is None or one.marker.evaluate({"extra": extra})]


@pytest.mark.parametrize("file", LOCKS)
def test_a_lock_file_has_all_that_its_packages_ask_for(file: str) -> None:
    lock = locked(file)
    extras = PROJECT["project"]["optional-dependencies"]
    asked = list(PROJECT["project"]["dependencies"])
    for extra in (*EXTRAS, *(["dev"] if file == LOCKS[0] else [])):
        asked += extras[extra]
    queue = needed(asked)
    for requirement in queue:
        name = canonicalize_name(requirement.name)
        assert name in lock, f"{requirement} is not in {file}: make lock"
        assert requirement.specifier.contains(next(iter(lock[name].specifier)).version, prereleases=True), requirement
    seen: set[tuple[str, str]] = set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                more = [
                    one for one in needed(requires(name) or [], extra) if canonicalize_name(one.name) not in LEFT_OUT
                ]
                missing = [str(one) for one in more if canonicalize_name(one.name) not in lock]
                assert not missing, f"{name} asks for {missing}, which {file} has not: make lock"
                queue += more
    applicable = {name for name, one in lock.items() if one.marker is None or one.marker.evaluate()}
    assert applicable - {name for name, _ in seen} == set(), "asked for by nothing: make lock"


def test_the_image_has_the_versions_that_were_tested() -> None:
    tested, image = (locked(file) for file in LOCKS)
    assert {name: str(one) for name, one in image.items()}.items() <= {n: str(one) for n, one in tested.items()}.items()


def test_what_a_kubernetes_job_needs_besides_is_of_the_same_versions() -> None:
    """Dagster's chart starts each run with `K8sRunLauncher`, which the run loads too."""
    more, tested = locked("deploy/kubernetes.lock"), locked(LOCKS[0])
    assert str(more["dagster-k8s"].specifier) == str(tested["dagster-postgres"].specifier), "of one release of Dagster"
    assert [name for name in more.keys() & tested if more[name].specifier != tested[name].specifier] == []
    assert "kubernetes" in more
    assert "--requirement kubernetes.lock" in (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", LOCKS)
def test_neither_torch_nor_what_brings_it_is_installed(file: str) -> None:
    assert not {"torch", "sentence-transformers", "transformers"} & locked(file).keys()
