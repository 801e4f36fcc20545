"""`headrace rollback`: the champion before this one."""

from headrace.components.errors import ParamsError
from headrace.pipelines.commands.arguments import PipelineName, load
from headrace.pipelines.commands.promote import move_champion
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths


def rollback(pipeline: PipelineName) -> None:
    """Make the champion before this one champion again."""
    restore_previous_champion(*load(pipeline))


def restore_previous_champion(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Make the previous champion champion again; twice in a row comes back. Raise ParamsError if there was none."""
    from headrace.pipelines.tracking.registry import PREVIOUS_CHAMPION, alias_version

    previous = alias_version(paths.root, pipeline.name, PREVIOUS_CHAMPION)
    if previous is None:
        raise ParamsError(f"{pipeline.name!r} has had no other champion; `headrace promote` makes a version champion")
    move_champion(pipeline, paths, previous, why="by hand: headrace rollback")
