"""`headrace diff`: what differs between two versions, runs or revisions."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from headrace.pipelines.paths import project_root

if TYPE_CHECKING:
    from headrace.pipelines.lineage.difference import Entry

_Side = Annotated[
    str,
    typer.Argument(help="MODEL@ALIAS, MODEL:VERSION, the id of an MLflow run, or a git revision.", show_default=False),
]


def diff(
    before: _Side,
    after: _Side,
    *,
    pipeline: Annotated[
        str | None, typer.Option(metavar="PIPELINE", help="Of revisions: which; needed where there are several.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what differs in data, params, code, packages and metrics, these with the interval of the difference."""
    from headrace.pipelines.lineage.difference import differences
    from headrace.pipelines.lineage.side import sides

    root = project_root()
    one, other = sides(root, before, after, pipeline=pipeline)
    found = differences(root, one, other)
    if as_json:
        shown = {"before": one.name, "after": other.name, "differences": [entry.model_dump() for entry in found]}
        typer.echo(json.dumps(shown, indent=2))
    else:
        _show(one.name, other.name, found)


def _show(before: str, after: str, found: "list[Entry]") -> None:
    from headrace.pipelines.lineage.difference import PARTS

    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(f"{before} -> {after}", style="bold"))
    for part in PARTS:
        entries = [entry for entry in found if entry.part == part]
        console.print(Text(f"{part}{'' if entries else ': no difference'}", style="bold"))
        width = max((len(entry.name) for entry in entries), default=0)
        for entry in entries:
            values = f"{entry.before} -> {entry.after}" if entry.before or entry.after else ""
            said = "; ".join(filter(None, [values, entry.note]))
            console.print(Text(f"  {entry.name:<{width}}  {said}"))
