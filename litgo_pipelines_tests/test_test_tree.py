"""What tests and benchmarks may import: what several share is in `worlds/`, `support.py` or `simulation/`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS, BENCHMARKS, PRODUCT = (ROOT / name for name in ("litgo_pipelines_tests", "benchmarks", "litgo_pipelines"))


def modules(folder: Path) -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of everything in a package."""
    for path in sorted(folder.rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def imported(path: Path, name: str) -> set[str]:
    """Everything a module names in an import, at any depth, and in a text that is code or a module's name."""
    found = set()
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
            found |= {
                word for word in node.value.replace(";", " ").split() if word.startswith("litgo_pipelines_tests.")
            }
    return found


def is_test(module: str) -> bool:
    return any(part.startswith("test_") for part in module.split("."))


def module_of(name: str) -> str:
    """The test module of an imported name, without what is taken from it."""
    parts = name.split(".")
    return ".".join(parts[: next(n for n, part in enumerate(parts) if part.startswith("test_")) + 1])


def test_nothing_imports_a_test_module() -> None:
    found = {
        name: {module_of(each) for each in imported(path, name) if each.split(".")[0] == TESTS.name and is_test(each)}
        for name, path in modules(TESTS)
    }
    others = {name: tests - {name} for name, tests in found.items() if tests - {name}}
    assert others == {}, "what several tests share is in litgo_pipelines_tests/worlds/ or support.py"


@pytest.mark.parametrize("folder", [BENCHMARKS, PRODUCT], ids=lambda folder: folder.name)
def test_neither_product_nor_benchmarks_import_a_test(folder: Path) -> None:
    found = {
        name: sorted(each for each in imported(path, name) if each.split(".")[0] == "litgo_pipelines_tests")
        for name, path in modules(folder)
    }
    assert {name: each for name, each in found.items() if each} == {}, "what benchmarks need is in simulation/"


def test_the_product_imports_no_benchmark() -> None:
    found = [
        name for name, path in modules(PRODUCT) for each in imported(path, name) if each.split(".")[0] == "benchmarks"
    ]
    assert found == []


def test_a_folder_s_conftest_only_takes_fixtures_from_worlds() -> None:
    for path in sorted(TESTS.glob("*/conftest.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert all(isinstance(node, ast.Expr | ast.ImportFrom) for node in body), f"{path}: fixtures belong in worlds/"


def test_an_import_is_found_wherever_it_is(tmp_path: Path) -> None:
    file = tmp_path / "test_one.py"
    file.write_text(
        "import HERE.a.test_x as y\n"
        "def f():\n    from HERE.b import test_z\n"
        "CODE = 'import sys; from HERE.c.test_w import run'\n"
        "from .test_v import g\nfrom .. import test_u\n".replace("HERE", TESTS.name)
    )
    found = {module_of(each) for each in imported(file, f"{TESTS.name}.d.test_one") if is_test(each)}
    expected = ("a.test_x", "b.test_z", "c.test_w", "d.test_v", "test_u")
    assert found == {f"{TESTS.name}.{name}" for name in expected}
