"""A section more in params.yaml, written as a user would: one line for each feature, transform and layer."""

import io
from collections.abc import Mapping
from typing import Any

import yaml

from headrace.components.errors import ParamsError
from headrace.pipelines.yaml_dialect import Dumper, read_yaml

_WIDTH = 120


def section_text(name: str, section: Mapping[str, Any], *, comment: str = "") -> str:
    """A pipeline's section as YAML, after a comment; a mapping or list of plain values stands in one line."""
    node: Any = _Dumper(io.StringIO(), sort_keys=False).represent_data({name: section})
    _choose_style(node)
    text: str = yaml.serialize(node, Dumper=_Dumper, width=_WIDTH, allow_unicode=True)
    return "".join(f"# {line}\n" for line in comment.splitlines()) + text


def with_section(text: str, name: str, section: str) -> str:
    """Add a name to `pipelines` in the text of params.yaml, and its section at the end.

    Nothing else moves. Raises ParamsError for a name that is taken, and for `pipelines` that can't be added to.
    """
    content = require_new(text, name)
    added = _with_name(text, name)
    line_end = "\r\n" if "\r\n" in text else "\n"
    added = added.rstrip("\r\n") + 2 * line_end + section.replace("\n", line_end)
    expected = {**content, **read_yaml(section, name=name), "pipelines": [*content["pipelines"], name]}
    if read_yaml(added, name="params.yaml") != expected:
        raise ParamsError(f"params.yaml can't be added to; add {name!r} to `pipelines` and its section by hand")
    return added


def require_new(text: str, name: str) -> dict[str, Any]:
    """Parse params.yaml; raise ParamsError if it can't be read, or has the name already."""
    content = read_yaml(text, name="params.yaml")
    if not isinstance(content, dict) or not isinstance(content.get("pipelines"), list):
        raise ParamsError("params.yaml: expected `pipelines`, a list of names")
    if name in content or name in content["pipelines"]:
        raise ParamsError(f"params.yaml has {name!r} already; choose another name, or remove it there first")
    return content


def _with_name(text: str, name: str) -> str:
    """The text with a name more at the end of `pipelines`."""
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    names = next(value for key, value in root.value if key.value == "pipelines")
    if not names.value:
        start = names.start_mark.index + 1
        return f"{text[:start]}{name}{text[start:]}"
    end = names.value[-1].end_mark.index
    if names.flow_style:
        return f"{text[:end]}, {name}{text[end:]}"
    end += len(text[end:].partition("\n")[0].rstrip("\r"))
    line_end = "\r\n" if "\r\n" in text else "\n"
    return f"{text[:end]}{line_end}{' ' * names.start_mark.column}- {name}{text[end:]}"


class _Dumper(Dumper):
    """Indents lists below their key, and repeats what occurs twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)


def _choose_style(node: Any) -> None:
    """Let what is flat, or a list of flat things that fits into a line, stand in one line."""
    if isinstance(node, yaml.ScalarNode):
        if not node.value.isprintable():
            node.style = '"'  # in which all of it is escaped
        return
    node.flow_style = _is_flat(node) or (isinstance(node, yaml.SequenceNode) and all(map(_is_flat, node.value)))
    node.flow_style = node.flow_style and len(_flow(node)) < _WIDTH - 20
    for child in _children(node):
        _choose_style(child)
        if node.flow_style and isinstance(child, yaml.CollectionNode):
            child.flow_style = True


def _children(node: Any) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for entry in node.value for part in entry]
    return list(node.value)


def _is_flat(node: yaml.Node) -> bool:
    """Whether it is a value, or holds nothing but values; a list of values also counts as one."""
    if isinstance(node, yaml.MappingNode):
        return all(not isinstance(value, yaml.MappingNode) and _is_flat(value) for _, value in node.value)
    return not isinstance(node, yaml.SequenceNode) or all(isinstance(one, yaml.ScalarNode) for one in node.value)


def _flow(node: yaml.Node) -> str:
    """The node in one line, in which only its length counts."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) else _flow_of(node)


def _flow_of(node: Any) -> str:
    if isinstance(node, yaml.MappingNode):
        return "{" + ", ".join(f"{key.value}: {_flow(value)}" for key, value in node.value) + "}"
    return "[" + ", ".join(_flow(one) for one in node.value) + "]"
