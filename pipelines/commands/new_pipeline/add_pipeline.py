"""Add a pipeline for a data set to params.yaml, and show what was guessed."""

import re
import sys
import textwrap
from pathlib import Path

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.components.errors import ParamsError
from headrace.components.guess.findings import Section
from headrace.components.guess.training import guess_stages
from headrace.pipelines.commands.new_pipeline.inspect_data import Data, Inspected, inspect_data
from headrace.pipelines.host.file_lock import locked
from headrace.pipelines.params import Pipeline, validated
from headrace.pipelines.params_errors import explain
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.edit_params import write
from headrace.pipelines.project.new_section import require_new, section_text, with_section
from headrace.pipelines.yaml_dialect import read_text

PLAIN_WIDTH = 200


def add_pipeline(project: ProjectPaths, name: str, data: Data, *, dry_run: bool) -> None:
    """Add a pipeline for the data to params.yaml and print what was guessed; with `dry_run`, print its section only.

    Raises ParamsError for a name that can't be added, and DataError for data that nothing can be learned from.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise ParamsError(f"{name!r} can't be a pipeline's name: a lower-case letter, then such letters, digits and _")
    require_new(read_text(project.params), name)
    inspected = inspect_data(data, root=project.root)
    section = _section(name, inspected)
    _check(name, section)
    text = section_text(name, section, comment=_comment(inspected))
    if dry_run:
        typer.echo(text, nl=False)
        return
    with locked(project.state / "locks" / project.params.name):
        write(project.params, with_section(read_text(project.params), name, text))
    _show(inspected)
    typer.echo(f"\nwritten to {project.params.name}: fix there what was guessed wrong, then `headrace run {name}`")


def _section(name: str, inspected: Inspected) -> Section:
    source = {**inspected.source, "dataset": name}
    order = {"kind": source.pop("kind"), "dataset": source.pop("dataset")}
    given_test = any(part.get("given_split") == "test" for part in source["parts"])
    return {
        "description": inspected.description,
        "ingest": {"source": {**order, **source, **inspected.guess.source}, **inspected.guess.ingest},
        **guess_stages(inspected.guess, given_test=given_test),
    }


def _check(name: str, section: Section) -> None:
    """Raise ParamsError if params.yaml could not have this section."""
    try:
        validated(Pipeline, {"name": name, **section})
    except ValidationError as error:
        raise ParamsError("\n".join(explain(Path("params.yaml"), name, error, model=Pipeline))) from error


def _comment(inspected: Inspected) -> str:
    left_out = [
        repr(one.name) if one.name.strip() != one.name else one.name
        for one in inspected.guess.findings
        if not one.is_used
    ]
    said = f"Guessed by `headrace new` from {inspected.name}." + (
        f" Left out: {', '.join(left_out)}." if left_out else ""
    )
    lines = [said, *(f"Check: {warning}." for warning in inspected.guess.warnings)]
    filled = [textwrap.fill(_printable(one), 116, break_long_words=False, break_on_hyphens=False) for one in lines]
    return "\n".join(filled)


def _show(inspected: Inspected) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("column", "taken for", "why"):
        table.add_column(column, no_wrap=column != "why")
    for one in inspected.guess.findings:
        style = "" if one.is_used else "dim"
        table.add_row(*(Text(_printable(text), style=style) for text in (one.name, one.taken_for, one.why)))
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    console.print(f"{inspected.guess.rows:,} examples {inspected.extent}\n", highlight=False)
    console.print(table)
    for warning in inspected.guess.warnings:
        console.print(Text(f"\ncheck: {_printable(warning)}", style="yellow"))


def _printable(text: str) -> str:
    """Text of the user's data: nothing that a terminal would obey, and no line end."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
