"""`headrace lineage`: the chain from raw file to prediction of a registered version."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from headrace.components.errors import EXIT_MISTAKE, ParamsError
from headrace.components.files.atomic import replace_file
from headrace.pipelines.commands.arguments import NamedModel, writable_file
from headrace.pipelines.paths import project_root

if TYPE_CHECKING:
    from headrace.pipelines.lineage.chain import Link
    from headrace.pipelines.lineage.named_model import NamedVersion

_STYLES = {"ok": "green", "missing": "bold red", "differs": "bold red", "unknown": "yellow"}


def lineage(
    model: NamedModel,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the links as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write them as a page.", callback=writable_file)
    ] = None,
) -> None:
    """Show each link from raw file to prediction, checked; exit code 2 where one is broken."""
    from headrace.pipelines.lineage.chain import chain, subject_of
    from headrace.pipelines.lineage.named_model import named_version

    if as_json and html is not None:
        raise ParamsError("--json and --html: expected one of them, found both")
    root = project_root()
    named = named_version(root, model)
    links = chain(*subject_of(root, named))
    if as_json:
        shown = {"model": named.model, "version": named.version.number, "links": [one.model_dump() for one in links]}
        typer.echo(json.dumps(shown, indent=2))
    elif html is not None:
        _write_page(html, named, links)
    else:
        _show(named, links)
    if any(link.is_broken for link in links):
        raise typer.Exit(EXIT_MISTAKE)


def verdict(links: "list[Link]") -> str:
    """One sentence: whether the chain is whole."""
    broken = [link.name for link in links if link.is_broken]
    if not broken:
        return "every link that can be checked is as it was"
    return f"{len(broken)} of {len(links)} links are broken: {', '.join(dict.fromkeys(broken))}"


def _show(named: "NamedVersion", links: "list[Link]") -> None:
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(link.name) for link in links)
    for is_downstream in (False, True):
        if is_downstream and any(link.is_downstream for link in links):
            console.print(Text("what came of it", style="bold"))
        for link in links:
            if link.is_downstream == is_downstream:
                remedy = f"; {link.remedy}" if link.remedy else ""
                state = Text(f"{link.state:<8}", style=_STYLES[link.state])
                console.print(Text.assemble(state, f" {link.name:<{width}}  {link.found}{remedy}"))
    console.print(Text(f"{named}: {verdict(links)}", style="bold"))


def _write_page(file: Path, named: "NamedVersion", links: "list[Link]") -> None:
    from headrace.pipelines.lineage.lineage_pages import rendered

    parts = [
        ("From raw file to version", [link for link in links if not link.is_downstream]),
        ("What came of it", [link for link in links if link.is_downstream]),
    ]
    page = rendered(
        "lineage.html", title=f"Lineage of {named}", verdict=verdict(links), parts=[part for part in parts if part[1]]
    )
    with replace_file(file) as temporary:
        temporary.write_text(page, encoding="utf-8")
    typer.echo(f"{file}: {named}: {verdict(links)}")
