"""`headrace promote`: another champion, chosen by hand."""

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.components.errors import ParamsError
from headrace.pipelines.commands.arguments import PipelineName, load
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths

if TYPE_CHECKING:
    from headrace.pipelines.tracking.registry import Version


def promote(
    pipeline: PipelineName,
    version: Annotated[int | None, typer.Option(min=1, help="Which version; without it, the newest.")] = None,
) -> None:
    """Make a registered version champion, whatever its metrics are."""
    promote_version(*load(pipeline), number=version)


def promote_version(pipeline: Pipeline, paths: PipelinePaths, *, number: int | None = None) -> None:
    """Make a version champion, the newest unless given.

    Raises ParamsError if there is no such version, and DataError if its file is not the one that was registered.
    """
    from headrace.pipelines.tracking.registry import versions

    found = {one.number: one for one in versions(paths.root, pipeline.name)}
    if not found:
        raise ParamsError(
            f"no version of {pipeline.name!r} is registered; `headrace run {pipeline.name}` registers one"
        )
    number = max(found) if number is None else number
    if number not in found:
        there_are = ", ".join(map(str, sorted(found)))
        raise ParamsError(f"no version {number} of {pipeline.name!r} is registered; there are: {there_are}")
    move_champion(pipeline, paths, found[number], why="by hand: headrace promote")


def move_champion(pipeline: Pipeline, paths: PipelinePaths, version: "Version", *, why: str) -> None:
    """Make a version champion, unless it is already, and print which one was it before."""
    from headrace.pipelines.tracking.registry import CHAMPION, alias_version, set_champion, version_file

    version_file(paths.root, pipeline.name, version)  # there, and the one that was registered
    number = version.number
    present = alias_version(paths.root, pipeline.name, CHAMPION)
    if present is not None and present.number == number:
        typer.echo(f"{pipeline.name}: version {number} is the champion already")
        return
    set_champion(paths.root, pipeline.name, number, why=why)
    before = f"; before, it was version {present.number}" if present is not None else ""
    typer.echo(f"{pipeline.name}: version {number} is now the champion{before}")
