"""What belongs to a type of feature is in its file: nobody else asks which type a feature has."""

import ast
from collections.abc import Iterator
from pathlib import Path

from headrace.components.schema.feature_types.feature_type import FeatureType
from headrace.components.schema.features import FEATURE_TYPES

ROOM = Path("components/schema/feature_types")
NAMES = {one.__name__ for one in FEATURE_TYPES}
TYPES = {one.name() for one in FEATURE_TYPES}
ALLOWED = {
    "components/evaluation/report_parts/attributions.py": (2, "the part is of pixels and words, and of nothing else"),
    "components/guess/columns.py": (1, "a column becomes a section of params.yaml; there is no feature yet"),
    "components/guess/training.py": (1, "learning rates by section"),
    "components/statistics/profile.py": (1, "the type is of a column's profile"),
    "pipelines/commands/profile.py": (1, "the type is of a column's profile"),
}


def switches(tree: ast.AST) -> Iterator[int]:
    """Lines that ask for a type: isinstance, a pattern, a comparison of `type` with its name, a dict by types."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, wanted]) if names_in(wanted) & NAMES:
                yield node.lineno
            case ast.MatchClass(cls=wanted) if names_in(wanted) & NAMES:
                yield node.lineno
            case ast.Compare(left=left, comparators=others) if any(map(is_type, (left, *others))):
                if any(texts_in(one) & TYPES for one in (left, *others)):
                    yield node.lineno
            case ast.Dict(keys=keys):
                if sum(bool((texts_in(key) & TYPES) | (names_in(key) & NAMES)) for key in keys if key) > 1:
                    yield node.lineno


def is_type(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "type"


def names_in(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def texts_in(node: ast.AST) -> set[str]:
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def test_only_its_own_file_knows_what_a_type_of_feature_is(repository: Path) -> None:
    found = {}
    for package in ("components", "pipelines", "dags"):
        for file in (repository / package).rglob("*.py"):
            place = file.relative_to(repository)
            if ROOM not in place.parents and (lines := list(switches(ast.parse(file.read_text(encoding="utf-8"))))):
                found[str(place)] = sorted(lines)
    allowed = {file: count for file, (count, _) in ALLOWED.items()}
    assert {file: len(lines) for file, lines in found.items()} == allowed, found


def test_switches_of_all_kinds_are_seen() -> None:
    code = """
isinstance(feature, ImageFeature | str)
match feature:
    case NumberFeature(minimum=float(low)):
        pass
feature.type == "text"
feature.type in ("category", "text")
{"image": 1, "number": 2}
{TextFeature: 1, CategoryFeature: 2}
isinstance(feature, str)
field.type == "float"
{"text": 1}
"""
    assert sorted(switches(ast.parse(code))) == [2, 4, 6, 7, 8, 9]


def test_each_type_is_a_file_of_its_own(repository: Path) -> None:
    files = {one.stem for one in (repository / ROOM).glob("*.py")} - {"__init__", "feature_type"}
    assert sorted(files) == sorted(one.__module__.rpartition(".")[2] for one in FEATURE_TYPES)
    assert all(issubclass(one, FeatureType) for one in FEATURE_TYPES)
