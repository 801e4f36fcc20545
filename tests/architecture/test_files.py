"""A path is never a pattern: one module opens files with Polars, and disables its patterns."""

import ast
from pathlib import Path

READERS = ("scan_", "read_")
ALLOWED = "components/files/tables.py"


def _calls(file: Path) -> list[ast.Call]:
    """Calls of Polars's readers, or of Arrow's that expand paths."""
    return [
        node
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (
            (node.func.value.id in ("pl", "polars") and node.func.attr.startswith(READERS))
            or (node.func.value.id == "pq" and node.func.attr in ("read_table", "ParquetDataset"))
            or node.func.value.id == "glob"
        )
    ]


def test_polars_opens_files_in_one_module_and_takes_no_path_for_a_pattern(repository: Path) -> None:
    found = {
        file.relative_to(repository).as_posix(): calls
        for folder in ("components", "pipelines", "dags")
        for file in (repository / folder).rglob("*.py")
        if (calls := _calls(file))
    }
    assert list(found) == [ALLOWED]
    for call in found[ALLOWED]:
        globs = [keyword.value for keyword in call.keywords if keyword.arg == "glob"]
        assert [ast.unparse(one) for one in globs] == ["False"]
