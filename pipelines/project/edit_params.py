"""Other values in a pipeline's section of params.yaml, by place: checked, and written so that nothing else moves."""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from headrace.components.errors import ParamsError
from headrace.components.files.atomic import replace_file
from headrace.pipelines.params import Pipeline, validated
from headrace.pipelines.params_errors import explain
from headrace.pipelines.yaml_dialect import Dumper, read_yaml


def edited(text: str, pipeline: str, values: Mapping[str, Any]) -> str:
    """Put values, by their places, into the pipeline's section of the text of params.yaml.

    A key that is not there yet is added to the section that it belongs to. Raises ParamsError where that would change
    anything else, as it does where a place is an alias of another.
    """
    expected = _content(text)
    after = text
    for place, value in values.items():
        put(expected, f"{pipeline}.{place}", value)
        after = _with_value(after, [pipeline, *place.split(".")], value)
    if _content(after) != expected:
        by_hand = ", ".join(f"{place}: {_scalar(value)}" for place, value in values.items())
        raise ParamsError(f"params.yaml can't be changed in these places alone; change it by hand: {by_hand}")
    return after


def with_values(pipeline: Pipeline, values: Mapping[str, Any]) -> Pipeline:
    """The pipeline as if params.yaml had these values; raise ParamsError where they are not allowed."""
    section = pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)  # what stands in the file
    for place, value in values.items():
        put(section, place, value)
    try:
        return validated(Pipeline, section)
    except ValidationError as error:
        lines = explain(Path("params.yaml"), pipeline.name, error, model=Pipeline)
        raise ParamsError("; ".join(line.partition(": ")[2] for line in lines)) from error


def put(section: Any, place: str, value: Any) -> None:
    """Set the value at a dotted place of nested dicts and lists, with the dicts that lead to it where they lack.

    Raises ParamsError where the place can't be reached, or holds more than one value.
    """
    *path, last = place.split(".")
    node, seen = section, ""
    for part in path:
        node, seen = _below(node, part, seen), f"{seen}{part}."
    _below(node, last, seen, is_last=True)
    node[int(last) if isinstance(node, list) else last] = value


def difference(before: str, after: str, *, name: str) -> str:
    """Unified diff of two texts, as `git apply` takes it; "" where they are equal."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return "".join(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}"))


def write(file: Path, text: str) -> None:
    """Replace the file's text atomically."""
    with replace_file(file) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def _below(node: Any, part: str, seen: str, *, is_last: bool = False) -> Any:
    where = seen.rstrip(".")
    if isinstance(node, list):
        if not part.isdecimal() or int(part) >= len(node):
            raise ParamsError(f"{where} has {len(node)} items, counted from 0; there is no {part!r}")
        found = node[int(part)]
    elif isinstance(node, dict):
        found = node.setdefault(part, None if is_last else {})
        if found is None and not is_last:
            found = node[part] = {}
    else:
        raise ParamsError(f"{where} is a value, {node!r}: there is no {part!r} in it")
    if is_last and isinstance(found, dict | list):
        names = list(found) if isinstance(found, dict) else range(len(found))
        raise ParamsError(f"{seen}{part} is not one value; name one in it: {', '.join(map(str, names))}")
    return found


def _content(text: str) -> Any:
    """The parsed text, with each alias as a copy of its own."""
    return json.loads(json.dumps(read_yaml(text, name="params.yaml")))


def _with_value(text: str, place: Sequence[str], value: Any) -> str:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    rest = list(place)
    while rest and (child := _child(node, rest[0])) is not None:
        node, rest = child, rest[1:]
    if isinstance(node, yaml.MappingNode):
        return _with_entry(text, node, f"{_scalar(rest[0])}: {_flow(rest[1:], value)}")
    start, end = node.start_mark.index, node.end_mark.index
    if start == end:  # nothing stands after the colon
        return f"{text[:start]} {_flow(rest, value)}{text[end:]}"
    if not rest and read_yaml(text[start:end], name="params.yaml") == value:
        return text  # also where it is written in another way
    return f"{text[:start]}{_flow(rest, value)}{text[end:]}"


def _child(node: yaml.Node, name: str) -> yaml.Node | None:
    """The node of a key or an item; None where there is none yet."""
    if isinstance(node, yaml.SequenceNode):
        items: list[yaml.Node] = node.value
        return items[int(name)]
    entries: list[tuple[yaml.Node, yaml.Node]] = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for key, value in entries if key.value == name), None)


def _with_entry(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """The text with an entry more in a mapping, where possible after its last one that ends within a line."""
    if mapping.flow_style:
        end = mapping.value[-1][1].end_mark.index if mapping.value else mapping.start_mark.index + 1
        return f"{text[:end]}{', ' if mapping.value else ''}{entry}{text[end:]}"
    first, line_end = mapping.value[0][0].start_mark, "\r\n" if "\r\n" in text else "\n"
    indent = " " * first.column
    ends = [value.end_mark.index for _, value in mapping.value if _ends_within_line(value)]
    if not ends:
        return f"{text[: first.index]}{entry}{line_end}{indent}{text[first.index :]}"
    end = ends[-1] + len(text[ends[-1] :].partition("\n")[0].rstrip("\r"))
    return f"{text[:end]}{line_end}{indent}{entry}{text[end:]}"


def _ends_within_line(node: yaml.Node) -> bool:
    """Whether the parser's mark of its end is that: of a block it is where the next thing begins."""
    if isinstance(node, yaml.CollectionNode):
        return bool(node.flow_style)
    return isinstance(node, yaml.ScalarNode) and node.style not in ("|", ">")


def _flow(path: Sequence[str], value: Any) -> str:
    """The value, in braces for each section that leads to it."""
    return f"{{{_scalar(path[0])}: {_flow(path[1:], value)}}}" if path else _scalar(value)


def _scalar(value: Any) -> str:
    """One value as YAML, also within braces."""
    text: str = yaml.dump([value], Dumper=Dumper, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return text.strip()[1:-1]
