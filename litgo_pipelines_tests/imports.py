"""What a module imports, at any depth and by name in a text that another interpreter is given."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = ("litgo_pipelines", "litgo_pipelines_tests", "benchmarks")
BEGINNINGS = tuple(f"{package}." for package in OURS)


def modules(folder: Path) -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of everything in a package."""
    for path in sorted(folder.rglob("*.py")):
        yield name_of(path), path


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imported(path: Path, name: str) -> frozenset[str]:
    """Everything a module names in an import, and the words of its texts that are names of ours."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from . import x` of a package counts from the package itself
            parts = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            base = [*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])]
            module = ".".join(base) if node.level else node.module or ""
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.replace(";", " ").split()
            found |= {word for word in words if word.startswith(BEGINNINGS)}
    return frozenset(found)


def closure(path: Path) -> set[Path]:
    """The module, and all modules of ours that it needs."""
    found, queue = set(), [path]
    while queue:
        here = queue.pop()
        if here in found:
            continue
        found.add(here)
        for name in imported(here, name_of(here)):
            if name.split(".")[0] in OURS:
                queue += _files(name)
    return found


def _files(name: str) -> list[Path]:
    """The files that are run when a name is imported: its packages and itself, where it is not an attribute."""
    parts = name.split(".")
    packages = [ROOT.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    return [path for path in [*packages, ROOT.joinpath(*parts).with_suffix(".py")] if path.is_file()]
