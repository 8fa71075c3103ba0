"""The bill of materials names what the lock file pins, with every hash, and nothing else."""

import re
from pathlib import Path

import pytest

from litgo_pipelines.tools.sbom import LockError, bill, components

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "deploy/requirements.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_and_hash_of_the_lock_is_named(name: str) -> None:
    lock = (ROOT / name).read_text()
    found = bill(lock, "litgo-pipelines", "1")["components"]
    assert isinstance(found, list)
    pinned = re.findall(r"(?m)^([A-Za-z0-9][^=\[ ]*)(?:\[[^\]]*\])?==([^ ;\\]+)", lock)
    assert [(each["name"], each["version"]) for each in found] == [
        (re.sub(r"[-_.]+", "-", package).lower(), version) for package, version in pinned
    ]
    assert len(found) > 100
    assert sum(len(each["hashes"]) for each in found) == lock.count("--hash=sha256:")
    assert len({each["bom-ref"] for each in found}) == len(found)


def test_it_is_the_same_for_the_same_lock() -> None:
    lock = (ROOT / LOCKS[0]).read_text()
    assert bill(lock, "a", "1") == bill(lock, "a", "1")
    assert bill(lock, "a", "1")["serialNumber"] != bill(lock + "# more\n", "a", "1")["serialNumber"]


def test_markers_are_kept() -> None:
    (one,) = components(f"a_b[x]==1.0 ; python_full_version < '3.12' \\\n    --hash=sha256:{'0' * 64}\n")
    assert (one["name"], one["purl"]) == ("a-b", "pkg:pypi/a-b@1.0")
    assert one["properties"] == [{"name": "python:marker", "value": "python_full_version < '3.12'"}]


@pytest.mark.parametrize("line", ["a>=1", "a==1.0", "-e .", "a @ https://example.org/a.whl"])
def test_what_is_not_pinned_with_a_hash_stops_it(line: str) -> None:
    with pytest.raises(LockError, match="neither pinned nor hashed"):
        components(f"{line}\n")
