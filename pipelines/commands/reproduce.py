"""`headrace reproduce`: a registered version, made again from raw data and compared."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from headrace.components.errors import EXIT_MISTAKE, ParamsError
from headrace.pipelines.commands.arguments import NamedModel, writable_folder
from headrace.pipelines.paths import project_root

if TYPE_CHECKING:
    from headrace.pipelines.lineage.reproduction import Reproduction

EXIT_DIFFERS = 3
_STYLES = {"equal": "green", "close": "green", "differs": "bold red", "unknown": "yellow"}


def reproduce(
    model: NamedModel,
    *,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FOLDER", help="Keep the workspace.", callback=writable_folder)
    ] = None,
    with_changed_code: Annotated[
        bool,
        typer.Option(
            "--with-changed-code", help="Run code that was not committed, and that the registry alone has any more."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Make a version again from its record, and compare; exit code 2 where a link is broken, 3 where it differs."""
    from headrace.pipelines.lineage.chain import subject_of
    from headrace.pipelines.lineage.named_model import named_version
    from headrace.pipelines.lineage.reproduction import broken_links, reproduced

    if keep is not None and keep.exists():
        raise ParamsError(f"--keep {keep}: there is something already; give a folder that is not there")
    root = project_root()
    subject, record = subject_of(root, named_version(root, model))
    if broken := broken_links(subject, record):
        for link in broken:
            remedy = f"; {link.remedy}" if link.remedy else ""
            typer.echo(f"error: {link.name} {link.state}: {link.found}{remedy}", err=True)
        raise typer.Exit(EXIT_MISTAKE)
    making = reproduced(
        subject, with_changed_code=with_changed_code, keep=keep, show=lambda line: typer.echo(line, err=True)
    )
    with making as found:
        if as_json:
            shown = {"version": str(subject.named), "verdict": found.comparison.verdict, "notes": found.notes}
            typer.echo(json.dumps({**shown, "parts": [one.model_dump() for one in found.comparison.parts]}, indent=2))
        else:
            _show(str(subject.named), found)
        differs = found.comparison.verdict == "differs"
    if differs:
        raise typer.Exit(EXIT_DIFFERS)


def _show(name: str, found: "Reproduction") -> None:
    console = Console(soft_wrap=True, highlight=False)
    for part in found.comparison.parts:
        verdict = Text(f"{part.verdict:<8}", style=_STYLES[part.verdict])
        console.print(Text.assemble(verdict, f" {part.stage:<10} {part.what:<12} {part.found}"))
    for note in found.notes:
        console.print(Text(f"note: {note}"))
    console.print(Text(f"{name}, made again: {found.comparison}", style="bold"))
