"""A search: train with several values of params.yaml side by side, and show which are best."""

import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import typer

from headrace.components.errors import ParamsError, TrainingError
from headrace.components.tasks.metric_names import LAST, lower_is_better
from headrace.pipelines.commands.search.search_plan import (
    Planned,
    Search,
    keep_outcome,
    kept_metrics,
    known_outcomes,
    make_data,
    plan_search,
)
from headrace.pipelines.commands.search.search_space import parse_axis, values_text
from headrace.pipelines.commands.search.trial_table import TrialTable
from headrace.pipelines.host.processes import Stopped, why_interrupted
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project.edit_params import difference, edited, with_values, write
from headrace.pipelines.ray_cluster.connect import ray_session
from headrace.pipelines.ray_tune.trials import Outcome, Watcher, clear, run_trials
from headrace.pipelines.tracking.mlflow_runs import Status
from headrace.pipelines.tracking.search_runs import SearchRuns
from headrace.pipelines.tracking.sweep import owner_tags
from headrace.pipelines.yaml_dialect import read_text

INTERRUPTED = 128 + signal.SIGINT

_STATUS: dict[str, Status] = {"finished": "FINISHED", "stopped early": "KILLED", "failed": "FAILED"}  # in MLflow


class TrialError(Exception):
    """A bug in what every trial ran; the message is the traceback of one of them."""


def parse_search(  # noqa: PLR0913 - each is an option of the command line
    pipeline: Pipeline,
    searched: Sequence[str],
    *,
    metric: str | None,
    trials: int,
    seed: int,
    early_stop: bool,
    at_once: int,
    workers: int,
) -> Search:
    """Parse the options of the command line; raise ParamsError for any that can't be read or done."""
    if not searched:
        raise ParamsError("nothing to search; say what, as in --search train.optimizer.learning_rate=log:0.0001:0.1")
    if workers != 1:
        raise ParamsError(
            f"--workers {workers}: a trial trains on one worker, which gives the weights of any number of them; "
            "raise --at-once to use more cores"
        )
    if metric is None and pipeline.train.best_by == LAST:
        raise ParamsError(f"train.best_by is {LAST}, so say by which metric trials are compared: --metric loss")
    axes = tuple(parse_axis(text) for text in searched)
    return Search(axes, metric or pipeline.train.best_by, trials, seed, early_stop, at_once)


def run_search(pipeline: Pipeline, paths: PipelinePaths, search: Search, *, apply: bool) -> int:
    """Train all trials that are not done, show the best, and with `apply` write it; return 130 after a Ctrl-C.

    Only metrics of training and validation are compared. Raises ParamsError and DataError before any work, and
    TrainingError where no trial came to its end.
    """
    plan = plan_search(pipeline, paths, search)
    outcomes = known_outcomes(plan)
    done_before = f"; {len(outcomes)} done before" if outcomes else ""
    typer.echo(f"{search.name(pipeline.name)}: {_counted(len(plan))}{done_before}")
    if len(outcomes) < len(plan):
        try:
            _train(plan, search, paths, outcomes)
        except KeyboardInterrupt as stopped:
            done = sum(outcome.status != "failed" for outcome in outcomes.values())
            typer.echo(f"interrupted with {_counted(done)} done; the same command continues with the rest", err=True)
            return stopped.exit_code if isinstance(stopped, Stopped) else INTERRUPTED
    best = _best(plan, outcomes, metric=search.metric)
    metrics = kept_metrics(best.trial, outcomes[best.number])
    typer.echo(f"best: trial {best.number}, {search.metric} {metrics[search.metric]:.4f}, {values_text(best.values)}")
    _show_difference(pipeline, paths, best, apply=apply)
    return 0


def _train(plan: Sequence[Planned], search: Search, paths: PipelinePaths, outcomes: dict[int, Outcome]) -> None:
    """Train the trials that have no outcome yet, and add theirs as they end."""
    trials = [one.trial for one in plan if one.number not in outcomes]
    runs = _runs(plan, search, paths)
    train = trials[0].pipeline.train
    try:
        with (
            _truthful_status(runs),
            TrialTable(plan, metric=search.metric) as table,
            ray_session(num_workers=search.at_once, cores_per_worker=train.cores_per_worker, use_gpu=train.use_gpu),
        ):
            watcher = _watcher({one.number: one for one in plan}, outcomes, runs, table)
            run_trials(
                trials,
                metric=search.metric,
                at_once=search.at_once,
                early_stop=search.early_stop,
                make_data=make_data,
                watcher=watcher,
            )
            _log_best(runs, plan, outcomes, metric=search.metric)
    finally:
        for trial in trials:
            clear(trial)


def _watcher(plan: Mapping[int, Planned], outcomes: dict[int, Outcome], runs: SearchRuns, table: TrialTable) -> Watcher:
    """Keeps, shows and logs the reports of trials."""

    def on_start(number: int) -> None:
        runs.begin_trial(number, plan[number].values)
        table.start(number)

    def on_epoch(number: int, metrics: dict[str, float]) -> None:
        runs.add(number, metrics)
        table.add(number, metrics)

    def on_end(number: int, outcome: Outcome) -> None:
        outcomes[number] = outcome
        keep_outcome(plan[number], outcome)
        reason = None if outcome.status == "finished" else outcome.reason or outcome.status
        runs.end_trial(number, _STATUS[outcome.status], reason)
        metrics = kept_metrics(plan[number].trial, outcome) if outcome.history else None
        table.end(number, outcome.status, metrics=metrics, reason=outcome.reason)

    return Watcher(on_start, on_epoch, on_end)


def _runs(plan: Sequence[Planned], search: Search, paths: PipelinePaths) -> SearchRuns:
    """The MLflow runs of the search, the first of which is open."""
    name = search.name(paths.pipeline)
    runs = SearchRuns(
        paths.root,
        plan[0].trial.folder.with_name("runs.json"),
        experiment=f"headrace/{paths.pipeline}",
        name=name,
        tags={"pipeline": paths.pipeline, "search": name, **owner_tags()},
    )
    spaces = {axis.place: axis.typed.partition("=")[2] for axis in search.axes}
    how = {"metric": search.metric, "draws": search.draws, "seed": search.seed, "early_stop": search.early_stop}
    runs.begin({**spaces, **{f"tune.{key}": value for key, value in how.items()}})
    return runs


@contextmanager
def _truthful_status(runs: SearchRuns) -> Iterator[None]:
    """Close the search's MLflow run as KILLED or FAILED where the block does not come to its end."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        runs.end("KILLED", why_interrupted(stopped))
        raise
    except BaseException as error:
        runs.end("FAILED", f"{type(error).__name__}: {error}"[:500])
        raise


def _log_best(runs: SearchRuns, plan: Sequence[Planned], outcomes: Mapping[int, Outcome], *, metric: str) -> None:
    """Close the search's MLflow run with the best trial, and how many there are of each kind."""
    best = _best(plan, outcomes, metric=metric)
    ends = Counter(outcome.status for outcome in outcomes.values())
    counts = {f"trials_{status.replace(' ', '_')}": float(count) for status, count in ends.items()}
    metrics = kept_metrics(best.trial, outcomes[best.number])
    runs.end(
        "FINISHED",
        metrics={metric: metrics[metric], "trials": float(len(plan)), **counts},
        tags={"best_trial": str(best.number), **{f"best.{place}": str(value) for place, value in best.values.items()}},
    )


def _best(plan: Sequence[Planned], outcomes: Mapping[int, Outcome], *, metric: str) -> Planned:
    """The finished trial with the best metric, the first of equals."""
    finished = [one for one in plan if outcomes[one.number].status == "finished"]
    if not finished:
        for outcome in outcomes.values():
            if outcome.traceback:
                raise TrialError(f"no trial came to its end; one of them failed:\n{outcome.traceback}")
        reasons = dict.fromkeys(outcome.reason or outcome.status for outcome in outcomes.values())
        raise TrainingError(f"none of {len(plan)} trials came to its end: {'; '.join(reasons)}")
    choose = min if lower_is_better(metric) else max
    return choose(finished, key=lambda one: kept_metrics(one.trial, outcomes[one.number])[metric])


def _show_difference(pipeline: Pipeline, paths: PipelinePaths, best: Planned, *, apply: bool) -> None:
    """Print what the best trial changes in params.yaml, as that file is now, and with `apply` write it."""
    file = ProjectPaths(paths.root).params
    with_values(load_pipeline(file, pipeline.name), best.values)
    before = read_text(file)
    after = edited(before, pipeline.name, best.values)
    if after == before:
        typer.echo(f"{file.name} has these values already")
        return
    typer.echo(difference(before, after, name=file.name))
    if apply:
        write(file, after)
    typer.echo(f"written to {file.name}" if apply else f"{file.name} is as it was; --apply writes this")


def _counted(trials: int) -> str:
    return f"{trials} trial{'' if trials == 1 else 's'}"
