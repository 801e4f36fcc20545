"""The files that a Python file of a project imports, found without running any of them."""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from headrace.components.errors import ParamsError


def read_sources(root: Path, file: str) -> dict[str, str]:
    """Text of `file` and of every file below `root` that it imports, at any depth, by path from `root`, sorted.

    Import statements are followed wherever they stand; what `importlib` imports by name is not seen. Raises ParamsError
    for a file that is not there, leads out of the project, or is not Python.
    """
    sources: dict[str, str] = {}
    waiting = [PurePosixPath(file)]
    while waiting:
        path = waiting.pop()
        if path.as_posix() not in sources:
            sources[path.as_posix()] = text = read_project_text(root, path)
            waiting += _imported(root, path, text)
    return dict(sorted(sources.items()))


def imports(text: str, path: str, package: str) -> bool:
    """Whether a file's text has an import statement of a package, or of a module in it."""
    found = {
        name.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(parsed(text, path))
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.level == 0)
        for name in node.names
    }
    return any(name.partition(".")[0] == package for name in found)


def parsed(text: str, path: str) -> ast.Module:
    """Syntax tree of a file's text; raises ParamsError with path and line where it is not Python."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # a ValueError for a NUL
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        reason = error.args[0] if error.args else "an expression is nested too deeply"
        raise ParamsError(f"{path}{line}: not Python: {reason}") from error


def read_project_text(root: Path, path: PurePosixPath, *, language: str = "Python") -> str:
    """Text of a file of the project; raises ParamsError if it leads out, is not there, or is not UTF-8."""
    file = root / path
    if path.is_absolute() or ".." in path.parts or not file.resolve().is_relative_to(root.resolve()):
        raise ParamsError(f"{path}: leads out of the project; name a file inside of it, by its path from params.yaml")
    if not file.is_file():
        raise ParamsError(f"{path}: no such file in the project")
    try:
        return file.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: expected {language} in UTF-8, found a byte that is none: {error}") from error


def _imported(root: Path, path: PurePosixPath, text: str) -> Iterator[PurePosixPath]:
    """Files inside the project that a file imports, and the `__init__.py` of each package on the way."""
    for node in ast.walk(parsed(text, path.as_posix())):
        match node:
            case ast.Import(names):
                modules = [name.name.split(".") for name in names]
            case ast.ImportFrom(module, names, level):
                package = list(path.parts[: len(path.parts) - level]) if level else []
                base = [*package, *(module.split(".") if module else [])]
                modules = [base, *([*base, name.name] for name in names)]  # a name may be a module, too
            case _:
                continue
        for parts in modules:
            yield from _files_of(root, parts)


def _files_of(root: Path, parts: list[str]) -> Iterator[PurePosixPath]:
    for length in range(1, len(parts) + 1):
        place = PurePosixPath(*parts[:length])
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if (root / file).is_file():
                yield file
