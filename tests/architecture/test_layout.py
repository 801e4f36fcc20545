"""The rules of the code base that no linter knows."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("components", "pipelines", "dags", "infra")
HEAVY = [
    "tensorflow",
    "keras",
    "ray",
    "mlflow",
    "polars",
    "pyarrow",
    "numpy",
    "sklearn",
    "scipy",
    "PIL",
    "matplotlib",
    "airflow",
    "dvc",
    "sqlite3",
]
FORBIDDEN_NAMES = {"utils", "common", "helpers", "base", "constants", "misc"}
REPEATED_NAMES = {"__init__", "settings"}  # one in every room
SHARED_NAMES = {
    "images": "components/sources reads archives of them, components/serving_model makes rows of files",
    "normalization": "components/models has the layers, components/training/workers their synchronization",
    "reader": "components/sources/delimited and parquet: a format that is more than one file has the same files",
    "source": "components/sources has the protocol, and its formats of several files their settings",
    "split": "pipelines/stages has the stage of that name, components/guess proposes its settings",
    "variants": "components/tasks and components/transforms list theirs",
}


def modules(repository: Path) -> list[Path]:
    return sorted(file for package in PACKAGES for file in (repository / package).rglob("*.py"))


def test_modules_import_only_what_lies_below_them(repository: Path) -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    checked = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("package", ["components", "pipelines"])
def test_the_page_of_the_architecture_names_every_room_at_its_height(repository: Path, package: str) -> None:
    contracts = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [one["layers"] for one in contracts if one.get("containers") == [f"headrace.{package}"]]
    page = (repository / "docs" / "architecture.md").read_text()
    [table] = re.findall(rf"^The rooms of `{package}/`.*\n\n((?:\|.*\n)+)", page, re.MULTILINE)
    rooms = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()[2:]]
    assert rooms == [layer.split(" | ") for layer in layers]
    there = {one.stem for one in (repository / package).iterdir()} - {"__init__", "__pycache__"}
    assert {room for line in rooms for room in line} == there


def test_paths_on_the_page_of_the_architecture_are_there(repository: Path) -> None:
    named = re.findall(
        r"`((?:components|pipelines|infra|docs|tests|dags)/[\w/.*]*)`",
        (repository / "docs" / "architecture.md").read_text(),
    )
    assert len(named) > 60
    assert [path for path in named if not list(repository.glob(path.rstrip("/")))] == []


def test_dags_know_only_airflow_and_its_room(repository: Path) -> None:
    allowed = ("airflow.sdk", "headrace.pipelines.airflow", "pathlib", "datetime", "__future__")
    for file in (repository / "dags").rglob("*.py"):
        imported = [
            node.module or "" for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)
        ]
        imported += [
            name.name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Import)
            for name in node.names
        ]
        assert [name for name in imported if not name.startswith(allowed)] == [], file.name


def test_modules_have_names_that_say_something(repository: Path) -> None:
    assert [str(file) for file in modules(repository) if file.stem in FORBIDDEN_NAMES] == []


def test_no_two_modules_have_one_name(repository: Path) -> None:
    # A traceback, an editor's tab and a search show the file's name without its folder. A command's file has the
    # command's name, as may have the module that does the work.
    files = [file for package in ("components", "pipelines") for file in (repository / package).rglob("*.py")]
    counts = Counter(file.stem for file in files if file.parent.name != "commands")
    assert {name for name, count in counts.items() if count > 1} - REPEATED_NAMES == SHARED_NAMES.keys()


def test_what_a_module_defines_is_used(repository: Path) -> None:
    # By its name alone: a method or a word in a text may hide what is used nowhere, and never the other way round.
    texts = {file: file.read_text() for file in modules(repository)}
    words = Counter(word for text in texts.values() for word in re.findall(r"\w+", text))
    words.update(re.findall(r"\w+", (repository / "headrace" / "__init__.py").read_text()))
    unused = {name for text in texts.values() for name in names_defined_in(text) if words[name] == 1}
    assert unused == {"_load_pyfunc", "get_provider_info"}, "MLflow and Airflow call these by name"


def test_comments_and_docstrings_have_no_timings(repository: Path) -> None:
    # They age unnoticed; bench/README.md has them, with the machine that they were measured on.
    timing = re.compile(r"(half|third|quarter|%) (of )?the time|times as (long|fast)|\b[\d.]+ (us|µs|ms)\b")
    texts = [(file, text) for file in modules(repository) for text in comments_and_docstrings(file.read_text())]
    assert [(str(file), text) for file, text in texts if timing.search(text)] == []


def comments_and_docstrings(text: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def names_defined_in(text: str) -> Iterator[str]:
    for node in ast.parse(text).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize(
    "module", ["headrace.pipelines.__main__", "headrace.pipelines.params", "headrace.pipelines.project.stage_graph"]
)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    # `headrace --help`, every stage that DVC starts, and Airflow's parser pay for what these load.
    code = f"import sys, {module}; print(*sorted(set({HEAVY}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
