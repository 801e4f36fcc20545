"""A function that a program gives, as the file that others import it from."""

import inspect
import sysconfig
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from headrace.components.errors import ParamsError


class GivenFunction(NamedTuple):
    """Where a function is: the folder that imports start from, the file's path below it, and its name there."""

    root: Path
    file: str
    name: str


def given_function(function: Callable[..., Any], *, called: str) -> GivenFunction:
    """The place of a function that stands at the top of a file; `called` names it in errors.

    The file of the program that runs is one, too. Raises ParamsError for what another process can't import: a lambda,
    a function within another, one of a notebook or of an installed package.
    """
    name = getattr(function, "__qualname__", "")
    if not inspect.isfunction(function) and not inspect.isclass(function):
        raise ParamsError(f"{called}: expected a function, found {type(function).__name__}")
    if "<" in name or "." in name:
        raise ParamsError(
            f"{called}: {name} is made within another function; write it at the top of a file, so that workers can "
            "import it, and pass what it depends on in `arguments`"
        )
    file = inspect.getsourcefile(function)
    if file is None or not Path(file).is_file():
        raise ParamsError(
            f"{called}: {name} is in no file, from which workers could import it; in a notebook, write it to one "
            "(`%%writefile model.py`) and import it"
        )
    path = Path(file).resolve()
    for installed in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), sysconfig.get_path("stdlib")}:
        if path.is_relative_to(Path(installed).resolve()):
            raise ParamsError(
                f"{called}: {name} is of an installed package ({path.name}); write a function of your own that calls it"
            )
    root = _root(path, function.__module__)
    return GivenFunction(root, PurePosixPath(path.relative_to(root)).as_posix(), name)


def _root(path: Path, module: str) -> Path:
    """The folder that `module` is imported from; that of the file for the program itself."""
    place = Path(*module.split("."))
    for tail in (place.with_suffix(".py"), place / "__init__.py"):
        if path.parts[-len(tail.parts) :] == tail.parts:
            return Path(*path.parts[: -len(tail.parts)])
    return path.parent
