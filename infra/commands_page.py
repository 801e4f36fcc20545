"""docs/commands.md: every command with its arguments, options and help text; `make pages` writes it."""

import re
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from headrace.pipelines.__main__ import app

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "commands.md"
WIDTH = 120  # of its text

_HEAD = """\
# Commands

Made from the code by `make pages`; nothing here is written by hand. `headrace COMMAND --help` shows the same on a
terminal. Environment variables and exit codes are in [settings](settings.md).
"""
_MAKE = """\
## `make`, in Headrace's own repository

Each target sets up what it needs.

| target | what it does |
|---|---|
"""


def page() -> str:
    """The page as Markdown: a table of all commands by panel, then a section for each, then the targets of make."""
    commands = dict(_commands("headrace", typer.main.get_group(app)))
    panels = dict.fromkeys(command.rich_help_panel for command in commands.values())
    lines = [_HEAD]
    for panel in panels:
        lines += [f"## {panel}\n", "| command | what it does |", "|---|---|"]
        lines += [_row(name, one) for name, one in commands.items() if one.rich_help_panel == panel]
        lines.append("")
    lines += ["## Arguments and options\n", *(_section(name, command) for name, command in commands.items())]
    return "\n".join(lines) + "\n" + _MAKE + "".join(_targets())


def _commands(name: str, group: Any, panel: str | None = None) -> Iterator[tuple[str, Any]]:
    """The commands of a group by their full names, those of groups in it included, in the order of the code."""
    for word, command in group.commands.items():
        if command.hidden:
            continue
        command.rich_help_panel = panel or command.rich_help_panel
        if hasattr(command, "commands"):
            yield from _commands(f"{name} {word}", command, command.rich_help_panel)
        else:
            yield f"{name} {word}", command


def _row(name: str, command: Any) -> str:
    return f"| [`{name}`](#{name.replace(' ', '-')}) | {_cell(command.help)} |"


def _section(name: str, command: Any) -> str:
    usage = " ".join([name, *(_usage(one) for one in command.params)])
    meaning = textwrap.fill(" ".join(command.help.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
    lines = [f"### `{name}`\n", f"```text\n{usage}\n```\n", f"{meaning}\n"]
    if command.params:
        lines += ["| argument or option | meaning | default |", "|---|---|---|"]
        lines += [f"| {_code(_spelled(one))} | {_cell(one.help)} | {_default(one)} |" for one in command.params]
        lines.append("")
    return "\n".join(lines)


def _usage(parameter: Any) -> str:
    spelled = _spelled(parameter)
    again = "..." if parameter.multiple else ""
    return f"{spelled}{again}" if parameter.required or spelled.startswith("[") else f"[{spelled}]{again}"


def _spelled(parameter: Any) -> str:
    """An argument by its metavar, an option by its names and what follows them."""
    value = parameter.metavar or _choices(parameter.default) or parameter.name.upper()
    if parameter.param_type_name == "argument":
        return str(value)
    names = "|".join([*parameter.opts, *parameter.secondary_opts])
    return names if parameter.is_flag else f"{names} {value}"


def _choices(default: object) -> str:
    return "|".join(str(one.value) for one in type(default)) if isinstance(default, Enum) else ""


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default.value if isinstance(parameter.default, Enum) else parameter.default
    if value is None or value is False or parameter.param_type_name == "argument":
        return ""
    return f"`{parameter.opts[0]}`" if value is True else f"`{value}`"


def _targets() -> Iterator[str]:
    """Rows of the Makefile's targets, by the comments that `make help` shows."""
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target, meaning in re.findall(r"^([a-z-]+):.*? ## (.+)$", text, re.MULTILINE):
        yield f"| `make {target}` | {_cell(meaning)} |\n"


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
