"""Capacity rules, as data: from a lawyer's profile to `capacidade_mensal`. Pure.

To change a rule, put the part to change in a JSON file and name it in LITGO_CAPACITY_RULES, or give it as run
configuration; `load.sql` applies the rules and holds no number of its own.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, cast


class CapacityRules(TypedDict):
    base: int
    minimum: int
    maximum: int
    years: dict[str, int]
    success_rate: dict[str, int]
    firm_size: dict[str, int]


DEFAULT_RULES: CapacityRules = {
    "base": 10,
    "minimum": 5,
    "maximum": 30,
    # more than this many years of practice → this many cases more (the highest step that applies)
    "years": {"2": 1, "5": 3, "10": 5},
    # success rate above → cases more
    "success_rate": {"0.6": 1, "0.8": 3},
    # curriculo_json.porte_escritorio → cases more
    "firm_size": {"pequeno": 2, "medio": 5, "grande": 10},
}


class CapacityRuleError(ValueError):
    """A rule that cannot be applied; the message names it."""


def capacity_rules(*overrides: Mapping[str, object]) -> CapacityRules:
    """The default rules with `overrides` put over them, later ones winning; a step table is replaced as a whole.

    Raises CapacityRuleError, naming the rule, for an unknown rule, a value that is not a non-negative number, or steps
    that do not rise.
    """
    defaults: Mapping[str, object] = DEFAULT_RULES
    rules = dict(defaults)
    for override in overrides:
        for name, value in override.items():
            if name not in defaults:
                raise CapacityRuleError(f"capacity rule {name!r} is unknown: the rules are {', '.join(defaults)}")
            rules[name] = value
    for name, value in rules.items():
        if isinstance(defaults[name], dict):
            if not isinstance(value, Mapping):
                raise CapacityRuleError(f"capacity rule {name!r} must be a table, not {value!r}")
            for step, points in value.items():
                _whole(f"{name}.{step}", points)
            if name != "firm_size":
                points = [value[step] for step in sorted(value, key=lambda s: _number(f"{name}.{s}", s))]
                if points != sorted(points):
                    raise CapacityRuleError(f"capacity rule {name!r} must not fall as its threshold rises")
        else:
            _whole(name, value)
    checked = cast(CapacityRules, rules)
    if not 1 <= checked["minimum"] <= checked["maximum"]:
        raise CapacityRuleError("capacity rules 'minimum' and 'maximum': 1 <= minimum <= maximum is required")
    return checked


def read_rules(path: Path) -> dict[str, object]:
    """The overrides in a JSON file. Raises CapacityRuleError when it cannot be read or is not an object."""
    try:
        rules = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CapacityRuleError(f"LITGO_CAPACITY_RULES={path}: {error}") from error
    if not isinstance(rules, dict):
        raise CapacityRuleError(f"LITGO_CAPACITY_RULES={path}: expected a JSON object of rules")
    return rules


def steps_sql(value: str, steps: Mapping[str, int]) -> str:
    """The points of the highest step that `value` (an SQL expression) exceeds, as SQL; 0 below all and for null.

    Only numbers that `capacity_rules` validated enter the text.
    """
    if not steps:
        return "0"
    falling = sorted(((float(over), int(points)) for over, points in steps.items()), reverse=True)
    return "CASE " + " ".join(f"WHEN {value} > {over} THEN {points}" for over, points in falling) + " ELSE 0 END"


def _number(name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = float("nan")
    if isinstance(value, bool) or not 0 <= number < float("inf"):
        raise CapacityRuleError(f"capacity rule {name!r} must be a number not below 0, not {value!r}")
    return number


def _whole(name: str, value: object) -> None:
    if isinstance(value, str) or not _number(name, value).is_integer():
        raise CapacityRuleError(f"capacity rule {name!r} must be a whole number not below 0, not {value!r}")
