"""What a function of the user's own takes: by its text before any work, by its annotations once it is imported."""

import ast
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, Field, ValidationError, create_model
from pydantic.warnings import ArbitraryTypeWarning

from headrace.components.errors import ParamsError
from headrace.components.nearest_name import nearest
from headrace.components.own_code.imported_files import parsed


def require_function(
    sources: Mapping[str, str], file: str, name: str, *, given: Sequence[str], arguments: Sequence[str]
) -> None:
    """Raise ParamsError unless a file defines a function that can be called so, without running the file.

    It is called with as many positional values as `given` names, and with `arguments` by keyword. A name that the file
    only imports is accepted.
    """
    tree = parsed(sources[file], file)
    defined = _functions(tree)
    if name not in defined:
        others = {
            alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        others |= {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        if name in others:
            return
        if any(isinstance(node, ast.AsyncFunctionDef) and node.name == name for node in tree.body):
            raise ParamsError(f"{file}: {name} is an async function; expected one without async")
        raise ParamsError(f"{file}: no function {name!r}{nearest(name, defined) if defined else ''}")
    function = defined[name].args
    place, call = f"{file}:{defined[name].lineno}: {name}", ", ".join(given)
    positional = [*function.posonlyargs, *function.args]
    if len(positional) < len(given) and function.vararg is None:
        raise ParamsError(f"{place}: expected the arguments ({call}), found {len(positional)} positional ones")
    by_keyword = _by_keyword(function, skip=len(given))
    if function.kwarg is None:
        for argument in arguments:
            if argument not in by_keyword:
                raise ParamsError(f"{place}: takes no argument {argument!r}{nearest(argument, by_keyword)}")
    if missing := sorted(_needed(function, skip=len(given)) - set(arguments)):
        raise ParamsError(f"{place}: needs the argument {missing[0]!r}; give it under `arguments`")


@dataclass(frozen=True)
class Signature:
    """What a function that a file defines takes by keyword, known from the file's text alone."""

    line: int
    names: frozenset[str]
    required: frozenset[str]
    takes_any: bool

    @classmethod
    def of(cls, sources: Mapping[str, str], file: str, name: str) -> "Signature | None":
        """The signature of a function; None where the file does not define it, but imports it."""
        function = _functions(parsed(sources[file], file)).get(name)
        if function is None:
            return None
        names, required = _by_keyword(function.args), _needed(function.args)
        return cls(function.lineno, frozenset(names), frozenset(required), function.args.kwarg is not None)

    def takes(self, *names: str) -> bool:
        """Whether it can be called with all of these names."""
        return self.takes_any or self.names.issuperset(names)


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _by_keyword(function: ast.arguments, *, skip: int = 0) -> set[str]:
    by_place = len(function.posonlyargs)
    return {one.arg for one in [*function.args[max(0, skip - by_place) :], *function.kwonlyargs]}


def _needed(function: ast.arguments, *, skip: int = 0) -> set[str]:
    """Names of arguments without a default, but for those that are passed by their place."""
    positional = [*function.posonlyargs, *function.args]
    needed = {one.arg for one in positional[skip : len(positional) - len(function.defaults)]}
    by_keyword = zip(function.kwonlyargs, function.kw_defaults, strict=True)
    return needed | {one.arg for one, value in by_keyword if value is None}


def checked_arguments(
    function: Callable[..., Any], arguments: Mapping[str, Any], *, given: int, place: str
) -> dict[str, Any]:
    """The arguments as the function's annotations have them, checked by pydantic.

    The first `given` parameters are passed by Headrace. Raises ParamsError that names the argument, what it expects and
    what was found.
    """
    try:
        parameters = list(inspect.signature(function, eval_str=True).parameters.values())[given:]
    except NameError as error:
        raise ParamsError(f"{place}: an annotation needs an import at the top of the file: {error}") from error
    except Exception as error:  # the text of an annotation is run, and may raise whatever it likes
        raise ParamsError(f"{place}: an annotation can't be read: {type(error).__name__}: {error}") from error
    by_keyword = [one for one in parameters if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)]
    # By alias, since pydantic reserves some names for itself, such as `copy` and those that begin with `_`.
    fields: dict[str, Any] = {
        f"argument_{number}": (
            Any if one.annotation is one.empty else one.annotation,
            Field(... if one.default is one.empty else one.default, alias=one.name),
        )
        for number, one in enumerate(by_keyword)
    }
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    config = ConfigDict(extra="allow" if takes_any else "forbid", arbitrary_types_allowed=True, strict=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ArbitraryTypeWarning)  # for a value that is no type
            model = create_model("Arguments", __config__=config, **fields)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ParamsError(f"{place}: an annotation is no type: {reason}") from error
    try:
        checked = model.model_validate(dict(arguments), strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise ParamsError(f"{place}: argument {name!r}: {first['msg']}, found {first['input']!r:.60}") from error
    fields_by_name = {one.name: field for one, field in zip(by_keyword, fields, strict=True)}
    return {
        name: getattr(checked, fields_by_name[name]) if name in fields_by_name else value
        for name, value in arguments.items()
    }
