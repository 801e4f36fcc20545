"""Name modules and functions that are long: a question whether they hold two subjects, not a rule."""

import ast
from pathlib import Path

MODULE_LINES = 400
FUNCTION_LINES = 50


def long_code(root: Path) -> list[str]:
    """One line for each long module and function of the package, in the order of their names."""
    found = []
    for file in sorted(file for room in ("components", "pipelines", "infra") for file in (root / room).rglob("*.py")):
        text, name = file.read_text(encoding="utf-8"), file.relative_to(root)
        if (lines := text.count("\n")) > MODULE_LINES:
            found.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f"{name}:{node.lineno}: {node.name} has {lines} lines")
    return found


if __name__ == "__main__":
    for line in long_code(Path()):
        print(f"long: {line}")  # noqa: T201
