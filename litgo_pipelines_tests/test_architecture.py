"""The tree keeps its floors: who may import whom, read from every import statement, those inside functions too.

And its measures: how long a function may be, where SQL stands, how often a signature may say Any.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import litgo_pipelines

PACKAGE = Path(litgo_pipelines.__file__).parent
NAME = PACKAGE.name

# From the ground up; a folder imports only what stands before it.
FLOORS = (
    ("arrays", "figures"),
    ("owners", "environment", "settings", "dagster_internals", "steps"),
    ("jobs",),
    ("database",),
    ("observability",),
    ("resources",),
    ("marketplace",),
    ("intake", "equity", "evidence", "notifications"),
    ("embeddings", "contracts"),
    ("models",),
    ("lifecycle",),
    ("experiments",),
    ("matching",),
    ("learning", "monitoring"),
    ("retention", "simulation", "persons"),
    ("backup",),
    ("automation", "asset_specs"),
    ("definitions",),
    ("runtime",),
    ("cli", "tools"),
)
FLOOR = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}
LONGEST_FUNCTION = 60  # lines, with its docstring
LONG_FUNCTIONS: dict[str, str] = {}  # module.function → why it may be longer
LONGEST_SQL = (
    300  # characters in a Python string; what is longer is a file beside the module, which a person can review
)
LONG_SQL = {
    "litgo_pipelines.marketplace.mapping": "the body of a trigger, made of a mapping's names",
}
MOST_ANY = 80  # parameters and results whose type says Any: rows, stored JSON, foreign objects
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|CREATE|ALTER|EXECUTE|PERFORM)\b")
IMPURE = ("dagster", "mlflow", "psycopg2", "sqlalchemy", "requests", "httpx2", "openai")


@cache
def modules() -> dict[str, Path]:
    """Dotted name → file of every module of the product."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


@cache
def imported(name: str, *, late: bool = True) -> frozenset[str]:
    """Modules that `name` imports; late=False: only at its top, as when it is loaded, without what types alone need."""
    nodes = ast.walk(tree(name)) if late else iter(tree(name).body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules() else node.module)
    return frozenset(found)


def folder(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


OURS = [name for name in modules() if folder(name)]


def test_every_folder_has_a_floor() -> None:
    assert {folder(name) for name in OURS} == set(FLOOR)


@pytest.mark.parametrize("place", FLOOR)
def test_a_folder_imports_only_what_stands_below_it(place: str) -> None:
    upward = [
        f"{name} → {other}"
        for name in OURS
        if folder(name) == place
        for other in imported(name)
        if other.startswith(f"{NAME}.") and folder(other) != place and FLOOR[folder(other)] >= FLOOR[place]
    ]
    assert upward == []


def is_pure(name: str) -> bool:
    """A module whose docstring says "Pure": it computes, and nothing else."""
    if "Pure" not in modules()[name].read_text(encoding="utf-8"):
        return False  # most are not parsed before their test runs
    return "Pure" in (ast.get_docstring(tree(name)) or "").replace("Pure but", "")


def test_there_are_pure_modules() -> None:
    assert len([name for name in OURS if is_pure(name)]) >= 41


@pytest.mark.parametrize("name", [name for name in OURS if is_pure(name)])
def test_a_pure_module_reaches_no_dagster_mlflow_database_or_network(name: str) -> None:
    """Transitively: what it imports of ours is followed. Owners, settings and metric names are plain values."""
    seen, todo = set(), [name]
    while todo:
        module = todo.pop()
        seen.add(module)
        todo += [other for other in imported(module) if other in modules() and folder(other) and other not in seen]
    impure = {
        f"{module} imports {other}" for module in seen for other in imported(module) if other.split(".")[0] in IMPURE
    }
    assert impure == set()


def test_only_one_file_imports_dagsters_private_modules() -> None:
    private = {
        name for name in OURS for other in imported(name) if other.startswith(("dagster._", "dagster_postgres._"))
    }
    assert private == {f"{NAME}.dagster_internals"}


def test_the_product_imports_no_test_and_no_benchmark() -> None:
    wrong = {f"{n} → {o}" for n in OURS for o in imported(n) if o.split(".")[0] in (f"{NAME}_tests", "benchmarks")}
    assert wrong == set()


def test_assets_do_not_shadow_the_modules_beside_them() -> None:
    """`from stage.assets import x` and `from stage import x` must not mean two things."""
    shadowed = set()
    for name in OURS:
        if not name.endswith(".assets"):
            continue
        stage = name.removesuffix(".assets")
        functions = {node.name for node in tree(name).body if isinstance(node, ast.FunctionDef)}
        shadowed |= {f"{stage}.{function}" for function in functions if f"{stage}.{function}" in modules()}
    assert shadowed == set()


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[str, Function]]:
    for name in OURS:
        for node in ast.walk(tree(name)):
            if isinstance(node, Function):
                yield name, node


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{name}.{node.name}"
        for name, node in functions()
        if (node.end_lineno or node.lineno) - node.lineno + 1 > LONGEST_FUNCTION
    }
    assert long == set(LONG_FUNCTIONS), f"over {LONGEST_FUNCTION} lines: split by what they decide"


def literals(module: ast.AST) -> Iterator[str]:
    """Every string of a module, an f-string without what is put into it; docstrings too, which hold no statement."""
    inside = {id(part) for node in ast.walk(module) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def docstrings(module: ast.AST) -> set[str]:
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        text for node in ast.walk(module) if isinstance(node, owners) and (text := ast.get_docstring(node, clean=False))
    }


def test_long_statements_stand_in_sql_files() -> None:
    found = {
        name
        for name in OURS
        for text in literals(tree(name))
        if len(text) > LONGEST_SQL and SQL.search(text) and text not in docstrings(tree(name))
    }
    assert found <= set(LONG_SQL), f"SQL over {LONGEST_SQL} characters: move it to a .sql file beside the module"


CHANGE = re.compile(r'\bDELETE FROM\b|(?<!DO )\bUPDATE [\w."{}]+(?: (?:AS )?(?!SET)\w+)?\s+SET\b')
LATER = {"litgo_pipelines.persons.held": "the WHERE is the caller's: of one person, or of many"}


def whole_tables(text: str) -> Iterator[str]:
    """The beginnings of statements in `text` that change or delete every row of a table."""
    for found in CHANGE.finditer(text := re.sub("--[^\n]*", "", text)):
        depth, own = 0, ""
        for sign in text[found.end() :]:
            depth += (sign == "(") - (sign == ")")
            if depth < 0 or (sign == ";" and not depth):
                break
            own += sign if not depth else " "
        if "WHERE" not in own:
            yield text[found.start() :][:60]


def test_no_statement_changes_a_whole_table_without_a_where() -> None:
    """Supabase loads safeupdate for some roles, which refuses such a one; WHERE true says that it is meant."""
    assert [*whole_tables("WITH a AS (DELETE FROM b) UPDATE c SET d = (SELECT 1 WHERE e)")] != []
    texts = {name: [*literals(tree(name))] for name in modules() if name not in LATER}
    texts |= {
        str(file): [file.read_text(encoding="utf-8")]
        for file in PACKAGE.rglob("*.sql")
        if file.parent.name != "migrations"
    }
    found = {name: [one for text in of for one in whole_tables(text)] for name, of in texts.items()}
    assert {name: ones for name, ones in found.items() if ones} == {}


def says_any(annotation: ast.expr | None) -> bool:
    return annotation is not None and any(isinstance(n, ast.Name) and n.id == "Any" for n in ast.walk(annotation))


def test_signatures_say_their_types() -> None:
    found = []
    for name, node in functions():
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        found += [f"{name}.{node.name}({a.arg})" for a in named if a is not None and says_any(a.annotation)]
        found += [f"{name}.{node.name} →"] * says_any(node.returns)
    assert len(found) <= MOST_ANY, "\n".join(found)
