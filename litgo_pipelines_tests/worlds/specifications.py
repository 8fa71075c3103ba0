"""The vendors' own descriptions of their APIs, which judge our requests. They are not part of the project."""

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "specs"


def read(name: str) -> dict[str, Any]:
    """The description of this file name; without it the test is skipped."""
    if not (FOLDER / name).exists():
        pytest.skip(f"{name} of the shared specifications is not here")
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def errors(specification: dict[str, Any], name: str, found: Any) -> list[str]:
    """What an OpenAPI 3 description's schema `name` finds wrong with a body."""
    import jsonschema

    schema = {"$ref": f"#/components/schemas/{name}", "components": specification["components"]}
    return [error.message[:200] for error in jsonschema.Draft202012Validator(schema).iter_errors(found)]
