"""The one dialect of YAML that Headrace reads: YAML 1.2 as DVC reads it, without what two readers take differently.

PyYAML alone reads YAML 1.1, in which `no` is false, `010` is 8 and `1:30` is 90; DVC's reader takes none of them so.
DVC's own reader (ruamel.yaml) is not used: it is far slower, in every process.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml

from headrace.components.errors import ParamsError

MAX_DEPTH = 100
MAX_NODES = 1_000_000  # with each alias counted as what it stands for
_MAX_NUMBER_CHARACTERS = 100  # Python itself refuses to read decimal integers of more than 4,300
_TAG = "tag:yaml.org,2002:"
_ODD_LINE_ENDS = re.compile("[\x85\u2028\u2029]")
_SPECIAL_FLOATS = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


class _Loader(yaml.CSafeLoader):
    """The C parser with the plain values of YAML 1.2. Dates stay text, so that content is what JSON can hold."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - filled below
    yaml_constructors = {  # noqa: RUF012
        f"{_TAG}{name}": yaml.CSafeLoader.yaml_constructors[f"{_TAG}{name}"] for name in ("null", "str", "seq", "map")
    }


def _number(loader: _Loader, node: Any) -> int | float:
    text = loader.construct_scalar(node)
    if len(text) > _MAX_NUMBER_CHARACTERS:
        raise _problem(node, f"a number of {len(text)} characters")
    try:
        if node.tag.endswith("int"):
            return int(text, 0)
        return float(_SPECIAL_FLOATS.get(text.lower(), text))
    except ValueError:
        raise _problem(
            node, f"{text} is another number to other readers: write it without leading zeros and stray _, or quote it"
        ) from None


def _boolean(loader: _Loader, node: Any) -> bool:
    text = loader.construct_scalar(node).lower()
    if text not in ("true", "false"):
        raise _problem(node, f"{text!r} is neither true nor false")
    return bool(text == "true")


def _other(loader: _Loader, node: Any) -> None:  # noqa: ARG001
    raise _problem(node, f"{node.tag.replace(_TAG, '!!')} is not read here; leave the tag out, or quote the value")


def _date_or_time(loader: _Loader, node: Any) -> str:
    text: str = loader.construct_scalar(node)
    try:
        (date if len(text) == 10 else datetime).fromisoformat(text)
    except ValueError as error:
        raise _problem(node, f"{text} is no date or time of ISO 8601 ({error}); correct it, or quote it") from None
    if re.search(r"\.\d{7}", text):
        raise _problem(node, f"{text} is finer than a microsecond; shorten or quote it")
    return text


class Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or 1.2 would take for something else."""


# The patterns of YAML 1.2, as DVC's reader has them.
for _name, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (
        "float",
        r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|"
        r"[-+]?\.[0-9_]+([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("int", r"[-+]?0b[0-1_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+", "-+0123456789"),
    ("merge", r"<<", "<"),
    ("value", r"=", "="),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (
        "timestamp",
        r"\d{4}-\d\d-\d\d|\d{4}-\d\d?-\d\d?([Tt]|[ \t]+)\d\d?:\d\d:\d\d(\.\d*)?([ \t]*(Z|[-+]\d\d?(:\d\d)?))?",
        "0123456789",
    ),
):
    for _class in (_Loader, Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"^(?:{_pattern})\Z", re.ASCII), list(_first))
_Loader.add_constructor(f"{_TAG}int", _number)
_Loader.add_constructor(f"{_TAG}float", _number)
_Loader.add_constructor(f"{_TAG}bool", _boolean)
_Loader.add_constructor(f"{_TAG}timestamp", _date_or_time)
_Loader.add_constructor(None, _other)


def read_yaml(text: str, *, name: str) -> Any:
    """Content of a YAML text: dicts with keys of text, lists, text, numbers, booleans, None; dates as text.

    Raises ParamsError of one line, with `name` and the line's number, for text that is not YAML and for a repeated key.
    It also does for values that readers take differently, and for nesting or aliases without bound.
    """
    if odd := _ODD_LINE_ENDS.search(text):
        number = text.count("\n", 0, odd.start()) + 1
        raise ParamsError(f"{name}: line {number}: a line end to some readers only ({odd[0]!a}); write it as an escape")
    try:
        _check_events(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        is_syntax = not isinstance(error, yaml.constructor.ConstructorError)
        problem = " ".join((error.problem or error.context or "").split())
        raise ParamsError(f"{name}: {line}{'not YAML: ' if is_syntax else ''}{problem}") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{name}: not YAML: {' '.join(str(error).split())}") from error


def read_yaml_file(file: Path) -> Any:
    """Content of a YAML file in UTF-8; raises ParamsError as `read_yaml` does, and for a file that can't be read."""
    return read_yaml(read_text(file), name=file.name)


def read_text(file: Path) -> str:
    """Text of a file in UTF-8, with its line ends; raises ParamsError where it can't be read or is of other bytes."""
    try:
        return file.read_bytes().decode("utf-8")
    except OSError as error:
        raise ParamsError(f"can't read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ParamsError(
            f"{file.name}: not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}; save the file as UTF-8"
        ) from error


def _problem(node: Any, what: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


def _check_events(text: str) -> None:
    """Raise for collections nested too deep, and for what some readers refuse or take for null.

    That is a bare `!`, and an unquoted `:` within a value in braces or brackets, which DVC's parser in C refuses.
    Before nodes are made: the C code that makes them is recursive.
    """
    in_flow: list[bool] = []  # of each open collection, whether it is in braces or brackets
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            in_flow.append(bool(event.flow_style))
        elif isinstance(event, yaml.CollectionEndEvent):
            in_flow.pop()
        if len(in_flow) > MAX_DEPTH:
            raise _problem(event, f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.ScalarEvent) and not event.style and ":" in event.value and in_flow[-1:] == [True]:
            raise _problem(event, f"{event.value!r} within braces or brackets has a colon; quote it")
        if getattr(event, "tag", None) == "!":
            raise _problem(event, "a tag without a name; quote the value")


def _check(root: yaml.Node) -> None:
    """Raise for keys that are no text or stand twice, aliases of what they are in, and too many nodes."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in open_nodes:
            raise _problem(node, "it contains itself by an alias")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            sizes[id(node)] = 1 + sum(size(part) for part in _parts(node))
            open_nodes.remove(id(node))
            if sizes[id(node)] > MAX_NODES:
                raise _problem(node, f"with its aliases it holds more than {MAX_NODES:,} values")
        return sizes[id(node)]

    size(root)


def _parts(node: Any) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            if key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                raise _problem(key, f"a key must be text, found {_shown(key)}; quote it")
            if key.value in first:
                raise _problem(key, f"duplicate key {key.value!r}, first in line {first[key.value]}; keep one")
            first[key.value] = key.start_mark.line + 1
            yield from (key, value)
    elif node.tag == f"{_TAG}str" and "\0" in node.value:
        raise _problem(node, "text holds a NUL character")


def _shown(key: yaml.Node) -> str:
    return str(key.value) if isinstance(key, yaml.ScalarNode) else "a list or a section"
