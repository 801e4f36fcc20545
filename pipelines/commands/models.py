"""`headrace models`: the registered versions, their aliases, and how those moved."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.pipelines.commands.arguments import PipelineOrAll
from headrace.pipelines.params import list_pipelines, load_pipeline
from headrace.pipelines.paths import ProjectPaths, project_root

if TYPE_CHECKING:
    from headrace.pipelines.tracking.alias_journal import Move
    from headrace.pipelines.tracking.registry import Version

PLAIN_WIDTH = 200


def models(pipeline: PipelineOrAll = None) -> None:
    """Show the registered versions, which is champion, and who made it that, when and why."""
    show_models(ProjectPaths(project_root()), pipeline)


def show_models(project: ProjectPaths, pipeline: str | None) -> None:
    """Print a table of versions for each pipeline that has some, or for the one named, and the moves of its aliases."""
    from headrace.pipelines.tracking.alias_journal import moves
    from headrace.pipelines.tracking.registry import aliases, versions

    names = [load_pipeline(project.params, pipeline).name] if pipeline else list_pipelines(project.params)
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    is_empty = True
    for name in names:
        found = sorted(versions(project.root, name), key=lambda version: version.number)
        if found:
            is_empty = False
            present = aliases(project.root, name)
            console.print(_versions(name, found, present))
            history = moves(project.root, name, [version.tags for version in found])
            console.print(_moves(history, present))
    if is_empty:
        console.print("no registered model")


def _versions(name: str, found: Sequence["Version"], aliases: dict[str, int]) -> Table:
    table = _table("model", "version", "alias", "training", "commit")
    for version in found:
        held = ", ".join(alias for alias, number in sorted(aliases.items()) if number == version.number)
        commit = version.tags.get("git_commit", "")[:12]
        cells = (name, str(version.number), held, version.tags.get("run_name", ""), commit)
        table.add_row(*map(Text, cells))
    return table


def _moves(history: Sequence["Move"], aliases: dict[str, int]) -> Table:
    from headrace.pipelines.tracking.registry import CHAMPION

    champion = aliases.get(CHAMPION)
    table = _table("when", "alias", "from", "to", "by", "why")
    for move in history:
        before, after = ("none" if one is None else str(one) for one in (move.from_version, move.to_version))
        cells = (move.time[:19], move.alias, before, after, move.who, move.why)
        table.add_row(*map(Text, cells))
    last = next((move.to_version for move in reversed(history) if move.alias == CHAMPION), None)
    if champion != last:
        now = "none" if champion is None else str(champion)
        table.add_row(
            "", CHAMPION, str(last or "none"), now, "unknown", "moved without Headrace, or before it kept a journal"
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column not in ("by", "why"), overflow="fold")
    return table
