"""deploy/compose.yaml as Compose reads it: variables filled in, services as plain data."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from litgo_pipelines_tests.support import PROJECT

COMPOSE = PROJECT / "deploy" / "compose.yaml"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<rule>:-|:\?)(?P<rest>[^}]*))?\}")


def load(environment: Mapping[str, str]) -> dict[str, Any]:
    """The whole file. Raises KeyError for a variable without a value that must have one."""

    def value(found: re.Match) -> str:
        given = environment.get(found["name"])
        if not given and found["rule"] == ":?":
            raise KeyError(found["rest"])
        return given or (found["rest"] if found["rule"] == ":-" else "")

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: fill(each) for key, each in node.items()}
        if isinstance(node, list):
            return [fill(each) for each in node]
        return VARIABLE.sub(value, node) if isinstance(node, str) else node

    return fill(yaml.safe_load(COMPOSE.read_text(encoding="utf-8")))
