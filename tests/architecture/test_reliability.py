"""docs/reliability.md against the tests: each of the 46 faults has one and its figure, and the command runs it."""

import ast
import re
from pathlib import Path

import pytest

ROW = re.compile(r"^\| (\d+) \|.*\| `([^`|]+)::(\w+)(?:\[[^`|]+\])?` \| `(make [a-z-]+)` \|$", re.MULTILINE)
FIGURE = re.compile(r"at once|(below )?\d+(\.\d)?( to \d+(\.\d)?)?")


@pytest.fixture(scope="module")
def rows(repository: Path) -> list[tuple[str, ...]]:
    return ROW.findall((repository / "docs" / "reliability.md").read_text(encoding="utf-8"))


def test_all_46_faults_are_there(rows):
    assert sorted({int(row[0]) for row in rows}) == list(range(1, 47))


def test_each_fault_has_a_figure_that_one_of_its_tests_measured_and_each_figure_its_day(repository):
    lines = (repository / "docs" / "reliability.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if "::test_" in line]
    numbered = [(int(row[1]), *row[4:6]) for row in rows if row[1].isdecimal()]
    assert {number for number, seconds, _ in numbered if seconds} >= set(range(1, 47))
    figures = {(seconds, day) for _, seconds, day in numbered} | {tuple(row[-4:-2]) for row in rows[len(numbered) :]}
    assert [
        figure
        for figure in figures - {("", "")}
        if not (FIGURE.fullmatch(figure[0]) and re.fullmatch(r"20\d\d-\d\d-\d\d", figure[1]))
    ] == []


def test_every_test_that_is_named_exists_and_is_run_by_its_command(rows, repository):
    wrong = []
    for number, file, name, command in rows:
        if command not in (found := commands_of(repository / "tests" / file, name)):
            wrong.append((number, file, name, command, found))
    assert wrong == []


def test_every_file_of_tests_that_the_page_names_exists(repository):
    text = (repository / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = {name.removeprefix("tests/") for name in re.findall(r"`([\w/]*/test_\w+\.py)`", text)}
    assert len(named) > 10
    assert sorted(name for name in named if not (repository / "tests" / name).is_file()) == []


def commands_of(file: Path, name: str) -> set[str]:
    """The commands that run a test, by the markers of its module, its own and those of its cases; empty without it."""
    if not file.is_file():
        return set()
    module = ast.parse(file.read_text(encoding="utf-8"))
    shared = {
        mark
        for node in module.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        for mark in marks(node.value)
    }
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            cases = [one for one in node.decorator_list if "parametrize" in ast.unparse(one)]
            own = {mark for one in node.decorator_list if one not in cases for mark in marks(one)} | shared
            some = {mark for one in cases for mark in marks(one)}
            return {command_of(own), *([command_of(own | some)] if some else [])}
    return set()


def marks(node: ast.expr) -> set[str]:
    return set(re.findall(r"pytest\.mark\.(\w+)", ast.unparse(node)))


def command_of(found: set[str]) -> str:
    return "make test-stack" if "stack" in found else "make test-long" if "long" in found else "make test"
