"""Move the alias champion by hand, and back."""

import typer

from headrace.components.errors import ParamsError
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking.registry import (
    CHAMPION,
    PREVIOUS_CHAMPION,
    Version,
    alias_version,
    set_champion,
    version_file,
    versions,
)


def promote(pipeline: Pipeline, paths: PipelinePaths, *, version: int | None = None) -> None:
    """Make a version champion, the newest unless given.

    Raises ParamsError if there is no such version, and DataError if its file is not the one that was registered.
    """
    found = {one.number: one for one in versions(paths.root, pipeline.name)}
    if not found:
        raise ParamsError(
            f"no version of {pipeline.name!r} is registered; `headrace run {pipeline.name}` registers one"
        )
    number = max(found) if version is None else version
    if number not in found:
        there_are = ", ".join(map(str, sorted(found)))
        raise ParamsError(f"no version {number} of {pipeline.name!r} is registered; there are: {there_are}")
    _move(pipeline, paths, found[number], why="by hand: headrace promote")


def rollback(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Make the previous champion champion again; twice in a row comes back. Raise ParamsError if there was none."""
    previous = alias_version(paths.root, pipeline.name, PREVIOUS_CHAMPION)
    if previous is None:
        raise ParamsError(f"{pipeline.name!r} has had no other champion; `headrace promote` makes a version champion")
    _move(pipeline, paths, previous, why="by hand: headrace rollback")


def _move(pipeline: Pipeline, paths: PipelinePaths, version: Version, *, why: str) -> None:
    version_file(paths.root, pipeline.name, version)  # there, and the one that was registered
    number = version.number
    present = alias_version(paths.root, pipeline.name, CHAMPION)
    if present is not None and present.number == number:
        typer.echo(f"{pipeline.name}: version {number} is the champion already")
        return
    set_champion(paths.root, pipeline.name, number, why=why)
    before = f"; before, it was version {present.number}" if present is not None else ""
    typer.echo(f"{pipeline.name}: version {number} is now the champion{before}")
