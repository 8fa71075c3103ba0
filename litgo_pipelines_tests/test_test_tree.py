"""What tests and benchmarks may import: what several share is in `worlds/`, `support.py` or `simulation/`."""

import ast
from pathlib import Path

import pytest

from litgo_pipelines_tests.imports import ROOT, imported, modules

TESTS, BENCHMARKS, PRODUCT = (ROOT / name for name in ("litgo_pipelines_tests", "benchmarks", "litgo_pipelines"))


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
