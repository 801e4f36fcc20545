"""`headrace profile`: what the examples look like, and how they differ from the version before."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.components.errors import DataError
from headrace.pipelines.commands.arguments import PipelineName, load
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths

if TYPE_CHECKING:
    from headrace.components.evaluation.drift import Drift, VersionProfile
    from headrace.components.statistics.profile import ColumnProfile

PLAIN_WIDTH = 200
STYLES = {"ok": "dim", "warn": "yellow", "fail": "bold red"}
_BLOCKS = " ▁▂▃▄▅▆▇█"
_NAMED_CATEGORIES = 4


def profile(
    pipeline: PipelineName,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as it is kept.")] = False,
) -> None:
    """Show what the examples look like, and how they differ from the version before."""
    show_profile(*load(pipeline), as_json=as_json)


def show_profile(pipeline: Pipeline, paths: PipelinePaths, *, as_json: bool) -> None:
    """Print the profile that ingest wrote, as tables or as it is; raise DataError if there is none."""
    from headrace.components.evaluation.drift import VersionProfile

    try:
        content = paths.profile.read_text(encoding="utf-8")
        version = VersionProfile.model_validate_json(content)
    except (OSError, ValidationError) as error:
        what = "no" if isinstance(error, OSError) else "an unreadable"
        raise DataError(f"{what} profile {paths.profile}: `headrace ingest {pipeline.name}` writes it") from error
    if as_json:
        typer.echo(content, nl=False)
        return
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    console.print(f"{version.profile.rows:,} examples of {pipeline.name}\n", highlight=False)
    console.print(_columns(version))
    if version.drift is not None:
        console.print(f"\nsince the version before, of {version.drift.rows_before:,} examples\n", highlight=False)
        console.print(_shifts(version.drift))


def _columns(version: "VersionProfile") -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("column", "type", "missing", "minimum", "10 %", "median", "90 %", "maximum", "mean", "deviation"):
        table.add_column(name, justify="left" if name in ("column", "type") else "right", no_wrap=True)
    table.add_column("distribution")  # the only one that gives way on a narrow terminal
    for name, column in version.profile.columns.items():
        deciles = [column.deciles[place] for place in (0, 4, 8)] if column.deciles else [None] * 3
        numbers = [column.minimum, *deciles, column.maximum, column.mean, column.standard_deviation]
        missing = f"{column.missing_fraction:.1%}"
        table.add_row(_plain(name), column.type, missing, *map(_number, numbers), _distribution(column))
    return table


def _distribution(column: "ColumnProfile") -> Text:
    if column.type != "category":
        most = max((bar.count for bar in column.bars), default=0) or 1
        # Rounded up, so that a bar of few is not taken for an empty one.
        return _plain("".join(_BLOCKS[-(-bar.count * (len(_BLOCKS) - 1) // most)] for bar in column.bars))
    present = max(column.rows - column.missing, 1)
    frequent = [bar for bar in column.bars[:_NAMED_CATEGORIES] if bar.count >= present / 100]
    named = [f"{bar.label} {bar.count / present:.0%}" for bar in frequent]
    many = "too many categories to count" if column.categories is None else f"{column.categories} categories"
    return _plain(", ".join([many, *named]))


def _shifts(drift: "Drift") -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("", "column", "measure", "value", "limit", "detail"):
        table.add_column(name, justify="right" if name in ("value", "limit") else "left", no_wrap=True)
    for shift in drift.foremost():
        place, verdict = _plain(shift.column or ""), Text(shift.verdict, style=STYLES[shift.verdict])
        table.add_row(verdict, place, shift.measure, _number(shift.value), _number(shift.limit), _plain(shift.detail))
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"


def _plain(text: str) -> Text:
    """Text of the user's data: no markup, and nothing that a terminal would obey."""
    safe = "".join(letter if letter.isprintable() else "?" for letter in text)
    return Text(safe, no_wrap=True, overflow="ellipsis")
