"""Bill of materials of the locked packages: CycloneDX 1.5 as JSON, the same for the same lock file.

    python -m litgo_pipelines.tools.sbom [LOCK_FILE] > build/sbom.json

Reads the lock file alone: what is not pinned there with its hashes is not installed.
"""

import json
import re
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^ ;\\]+)(?: *; *(?P<marker>[^\\]+))?"
)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class LockError(ValueError):
    """A line of the lock file that is not understood; the message quotes it."""


def components(lock: str) -> list[dict[str, object]]:
    """One per pinned package, with the hashes of all its files. Raises LockError."""
    found: list[dict[str, object]] = []
    for entry in re.split(r"\n(?=[^ #])", "\n" + re.sub(r"(?m)^ *#.*\n?", "", lock)):
        line = entry.strip()
        if not line:
            continue
        pinned, hashes = PINNED.match(line), HASH.findall(line)
        if pinned is None or not hashes:
            raise LockError(f"neither pinned nor hashed: {line[:80]}")
        name = re.sub(r"[-_.]+", "-", pinned["name"]).lower()
        purl = f"pkg:pypi/{name}@{pinned['version']}"
        one: dict[str, object] = {
            "type": "library",
            "bom-ref": purl if not pinned["marker"] else f"{purl}#{len(found)}",  # a package may be pinned by platform
            "name": name,
            "version": pinned["version"],
            "purl": purl,
            "hashes": [{"alg": "SHA-256", "content": digest} for digest in hashes],
        }
        if marker := (pinned["marker"] or "").strip():
            one["properties"] = [{"name": "python:marker", "value": marker}]
        found.append(one)
    return found


def bill(lock: str, name: str, version: str) -> dict[str, object]:
    """The whole document."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{name} {version} {lock}')}",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": name, "name": name, "version": version},
        },
        "components": components(lock),
    }


def main() -> None:
    lock = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "requirements.lock"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    print(json.dumps(bill(lock.read_text(encoding="utf-8"), project["name"], project["version"]), indent=1))


if __name__ == "__main__":
    main()
