"""`headrace tune`: several values of params.yaml, trained side by side."""

from typing import Annotated

import typer

from headrace.pipelines.commands.arguments import PipelineName, load


def tune(  # noqa: PLR0913 - each is an option
    pipeline: PipelineName,
    *,
    search: Annotated[
        list[str],
        typer.Option(metavar="PLACE=KIND:VALUES", help="log:L:H, uniform:L:H, integer:L:H, choice:A,B or grid:A,B."),
    ],
    trials: Annotated[int, typer.Option(min=1, help="How often values are drawn, each for all of the grids.")] = 10,
    metric: Annotated[str | None, typer.Option(help="What is compared; without it, train.best_by.")] = None,
    at_once: Annotated[int, typer.Option(min=1, help="How many trials train side by side, one core each.")] = 2,
    workers: Annotated[int, typer.Option(min=1, help="How many workers a trial trains on: 1.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the values that are drawn.")] = 1,
    early_stop: Annotated[bool, typer.Option("--early-stop/--no-early-stop", help="Stop poor trials early.")] = True,
    apply: Annotated[bool, typer.Option("--apply", help="Write the best values into params.yaml.")] = False,
) -> None:
    """Search values of params.yaml with Ray Tune, and show the best as a diff."""
    settings, paths = load(pipeline)  # before Ray's import, which takes seconds
    from headrace.pipelines.commands.search.trial_search import parse_search, run_search

    wanted = parse_search(
        settings,
        search,
        metric=metric,
        trials=trials,
        seed=seed,
        early_stop=early_stop,
        at_once=at_once,
        workers=workers,
    )
    raise typer.Exit(run_search(settings, paths, wanted, apply=apply))
