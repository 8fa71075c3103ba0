"""Columns of our tables, read from the migrations that make them. Pure: no connection is needed to know them."""

import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

_CREATE = re.compile(r"^CREATE TABLE litgo\.(\w+) \(\n(.*?)^\)", re.MULTILINE | re.DOTALL)
_ALTER = re.compile(r"^\s*ALTER TABLE litgo\.(\w+)\s+(.*)$", re.DOTALL)
_COLUMN = re.compile(r"^(\w+) (.+)$", re.DOTALL)
_NO_COLUMN = ("CHECK", "PRIMARY", "UNIQUE", "FOREIGN", "CONSTRAINT", "EXCLUDE")
_TYPE_ENDS = re.compile(
    r"\s(?:NOT NULL|NULL|PRIMARY KEY|DEFAULT|CHECK|REFERENCES|GENERATED|UNIQUE|CONSTRAINT|COLLATE)\b"
)
_REQUIRED = re.compile(r"\b(?:NOT NULL|PRIMARY KEY|AS IDENTITY)\b")
_COMMENT = re.compile(r"\s*--\s?(.*)$")
_BESIDE = 12  # characters: a comment that begins further right belongs to the column above it


@dataclass(frozen=True)
class Column:
    """`comment`: what the migration says beside it; empty where the name says all."""

    name: str
    type: str
    required: bool
    comment: str = ""


@cache
def columns(table: str) -> tuple[Column, ...]:
    """The columns of `litgo.table`, in order. Raises KeyError for a table no migration makes."""
    return _tables()[table.removeprefix("litgo.")]


@cache
def _tables() -> dict[str, tuple[Column, ...]]:
    found: dict[str, tuple[Column, ...]] = {}
    folder = files("litgo_pipelines.database").joinpath("migrations")
    for path in sorted((path for path in folder.iterdir() if path.name.endswith(".sql")), key=lambda path: path.name):
        text = path.read_text(encoding="utf-8")
        for table, body in _CREATE.findall(text):
            found[table] = _created(_items(body))
        for statement in _statements(text):
            if altered := _ALTER.match(statement):
                table, actions = altered.groups()
                found[table] = _altered(found[table], _items(actions))
    return found


def _created(items: list[tuple[str, str]]) -> tuple[Column, ...]:
    made = [column for item in items if (column := _column(*item))]
    keyed = next(
        (re.findall(r"\w+", item[len("PRIMARY KEY") :]) for item, _ in items if item.startswith("PRIMARY KEY")), []
    )
    return tuple(replace(column, required=column.required or column.name in keyed) for column in made)


def _altered(known: tuple[Column, ...], items: list[tuple[str, str]]) -> tuple[Column, ...]:
    by_name = {column.name: column for column in known}
    for item, comment in items:
        words = item.split()
        if words[0] == "ADD":
            column = _column(re.sub(r"^ADD (?:COLUMN )?(?:IF NOT EXISTS )?", "", item), comment)
            if column:
                by_name.setdefault(column.name, column)
        elif words[0] == "ALTER":
            name = words[2] if words[1] == "COLUMN" else words[1]
            if item.endswith(("SET NOT NULL", "DROP NOT NULL")):
                by_name[name] = replace(by_name[name], required="SET NOT NULL" in item)
            elif kind := re.search(r" TYPE (.+?)(?: USING .*)?$", item):
                by_name[name] = replace(by_name[name], type=kind[1])
        elif words[0] == "DROP" and words[1] != "CONSTRAINT":
            by_name.pop(words[2] if words[1] == "COLUMN" else words[1], None)
    return tuple(by_name.values())


def _column(item: str, comment: str) -> Column | None:
    if item.startswith(_NO_COLUMN) or not (parts := _COLUMN.match(item)):
        return None
    name, rest = parts.groups()
    return Column(name, _TYPE_ENDS.split(f"{rest} ", maxsplit=1)[0].strip(), bool(_REQUIRED.search(rest)), comment)


def _items(text: str) -> list[tuple[str, str]]:
    """(definition or action, comment beside its first line or the next ones), split where a comma stands outside all
    brackets."""
    items: list[tuple[str, str]] = []
    current, comment, depth = "", "", 0
    for line in text.splitlines():
        said = _COMMENT.search(line)
        code = line[: said.start()] if said else line
        if said and not code.strip():
            if said.start(1) > _BESIDE:  # goes on with the comment above
                if current.strip():
                    comment = f"{comment} {said[1].strip()}".strip()
                elif items:
                    items[-1] = (items[-1][0], f"{items[-1][1]} {said[1].strip()}".strip())
            continue
        for letter in code:
            depth += {"(": 1, ")": -1}.get(letter, 0)
            if letter == "," and depth == 0:
                items.append((" ".join(current.split()), comment or (said[1].strip() if said else "")))
                current, comment = "", ""
            else:
                current += letter
        current += " "
        if current.strip() and said and not comment:
            comment = said[1].strip()
    if current.strip():
        items.append((" ".join(current.split()), comment))
    return items


def _statements(text: str) -> list[str]:
    """Split at semicolons that end a line's code, outside of bodies in dollars; comments stay."""
    found, current, body = [], [], False
    for line in text.splitlines():
        said = _COMMENT.search(line)
        code = (line[: said.start()] if said else line).rstrip()
        current.append(
            line if not code.endswith(";") else line.replace(";", "", 1) if not said else f"{code[:-1]}  -- {said[1]}"
        )
        body ^= code.count("$$") % 2 == 1
        if code.endswith(";") and not body:
            found.append("\n".join(line for line in current if not line.lstrip().startswith("--")))
            current = []
    return found
