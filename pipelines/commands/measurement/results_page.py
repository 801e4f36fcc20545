"""docs/results.md: what each pipeline must reach, and what it was measured to reach."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.components.errors import ParamsError
from headrace.components.evaluation.settings import Comparison, Threshold
from headrace.components.files.atomic import replace_file
from headrace.components.models.settings import Model
from headrace.components.numerics import has_changed
from headrace.components.schema.settings import Settings
from headrace.components.tasks.variants import task_of
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.edit_params import with_values

_HEAD = """\
# Results

Made by `headrace results`; nothing here is written by hand. Each pipeline was run from its raw data to its metrics,
with what params.yaml says: over several seeds of the training or, where it says so, on each fold of the data. A value
is the mean over these runs, in brackets the smallest and the largest. What a pipeline must reach is in params.yaml,
under `results.reach` or `register.thresholds`; every metric of every run is in docs/results/.

| pipeline | what | runs | must reach | measured | reached | seconds a run | code |
|---|---|---|---|---|---|---|---|
"""
MEASURED_STAGES = ("ingest", "normalize", "split", "train", "evaluate")
_NOTES = """
`training_` and `validation_` metrics are those of the epoch whose weights are the model; all others are of the test
split or, where nothing was held out, of the training rows. The seconds are those of one run with all its stages, Ray's
start included. "Within noise" is a mean that lies nearer to its bound than two standard errors: those of the runs and,
of an accuracy, of so many examples. The code is the commit that was measured, with a + where files differed from it;
"older numerics" is a stage that computes something else today, see `components/numerics.py`.
"""


class Run(Settings):
    """One run of a pipeline: what it had other than params.yaml, how long it took, every metric and its identity."""

    values: dict[str, int | float | str]
    seconds: float
    figures: dict[str, float]
    identity: str | None = None  # the digest of all that decides the weights


class Measured(Settings):
    """All runs of a pipeline, and what they were made with; kept in docs/results/<pipeline>.json."""

    pipeline: str
    settings_sha256: str
    git_commit: str
    git_dirty: bool | None = None
    numerics: dict[str, int] | None = None  # by stage; None of what was measured before these were recorded
    versions: dict[str, str]
    cores: int
    workers: int
    runs: tuple[Run, ...]


def write_page(project: ProjectPaths, pipelines: Mapping[str, Pipeline]) -> None:
    """Write docs/results.md, and a picture of each pipeline whose values are compared."""
    for name, measured in _found(project, pipelines).items():
        if pipelines[name].results.compare:
            _draw_errors(pipelines[name], measured, project.results / f"{name}.png")
    with replace_file(project.results_page) as file:
        file.write_text(page(project, pipelines), encoding="utf-8")


def _draw_errors(pipeline: Pipeline, measured: Measured, picture: Path) -> None:
    """Draw the errors by the values that are compared."""
    from headrace.components.plots.figures import errors_by_value, write_png

    if compare := pipeline.results.compare:
        splits = ("training", "validation")
        errors = {split: by_value(measured.runs, compare, error_of(pipeline, split)) for split in splits}
        with replace_file(picture) as file:
            write_png(errors_by_value(errors, name=compare.place), file)


def page(project: ProjectPaths, pipelines: Mapping[str, Pipeline]) -> str:
    """docs/results.md, from the measured results and the bounds in params.yaml."""
    found = _found(project, pipelines)
    pictures = [name for name in found if (project.results / f"{name}.png").is_file()]
    return render(pipelines, found, pictures=pictures)


def _found(project: ProjectPaths, pipelines: Mapping[str, Pipeline]) -> dict[str, Measured]:
    """The last results of each pipeline that was ever measured."""
    files = {name: project.results / f"{name}.json" for name in pipelines}
    return {
        name: Measured.model_validate_json(file.read_text(encoding="utf-8"))
        for name, file in files.items()
        if file.is_file()
    }


def render(pipelines: Mapping[str, Pipeline], measured: Mapping[str, Measured], *, pictures: Sequence[str]) -> str:
    """Render the page: a row for each pipeline, also for those that were never measured, then tables and pictures."""
    rows = "".join(_row(pipeline, measured.get(name)) for name, pipeline in pipelines.items())
    compared = "".join(_compared(pipelines[name], one) for name, one in measured.items())
    shown = "".join(f"\n![{name}: {pipelines[name].description}](results/{name}.png)\n" for name in pictures)
    return f"{_HEAD}{rows}{_NOTES}{_machine(measured)}{compared}{shown}"


def by_value(runs: Sequence[Run], compare: Comparison, metric: str) -> dict[int | float | str, list[float]]:
    """One metric of all runs, grouped by each run's value of the compared setting."""
    return {
        value: [run.figures[metric] for run in runs if run.values.get(compare.place) == value]
        for value in compare.values
    }


def error_of(pipeline: Pipeline, split: str) -> str:
    """The metric of a model's error on a split: training, validation or test."""
    name = task_of(pipeline.ingest.label).error_metric
    return name if split == "test" else f"{split}_{name}"


def _row(pipeline: Pipeline, measured: Measured | None) -> str:
    bounds = pipeline.results.reach or pipeline.register_.thresholds
    required = "<br>".join(f"`{name}` {_bounds(one)}" for name, one in bounds.items())
    if measured is None:
        return f"| `{pipeline.name}` | {pipeline.description} | | {required} | not measured yet | | | |\n"
    runs = _own(pipeline, measured.runs)
    reached = {name: [run.figures[name] for run in runs] for name in bounds}
    found = "<br>".join(map(_mean_and_range, reached.values()))
    if pipeline.split.held_out == "none":
        found += "<br>on the training rows: nothing was held out"
    verdicts = [_verdict(reached[name], one, examples=_examples(name, runs)) for name, one in bounds.items()]
    cells = (
        f"`{pipeline.name}`",
        pipeline.description,
        _runs(pipeline, runs),
        required,
        found,
        next(verdict for verdict in _FROM_WORST if verdict in verdicts),
        f"{statistics.fmean(run.seconds for run in runs):.0f}",
        _code(measured, pipeline),
    )
    return f"| {' | '.join(cells)} |\n"


def _runs(pipeline: Pipeline, runs: Sequence[Run]) -> str:
    if pipeline.results.folds:
        return f"{len(runs)} folds"
    return f"seeds {', '.join(str(run.values['train.seed']) for run in runs)}"


def _own(pipeline: Pipeline, runs: Sequence[Run]) -> Sequence[Run]:
    """The runs that have what params.yaml says, where other values are compared."""
    compare = pipeline.results.compare
    if compare is None:
        return runs
    own = [value for value in compare.values if with_values(pipeline, {compare.place: value}) == pipeline]
    if not own:
        raise ParamsError(f"{pipeline.name}.results.compare.values: the value of {compare.place} itself is not there")
    return [run for run in runs if run.values[compare.place] in own]


def _compared(pipeline: Pipeline, measured: Measured) -> str:
    """A table of the errors by the values that are compared; nothing where none are."""
    if (compare := pipeline.results.compare) is None:
        return ""
    errors = [error_of(pipeline, split) for split in ("training", "validation", "test")]
    columns = [by_value(measured.runs, compare, error) for error in errors]
    head = f"\n## {pipeline.name}\n\n| {compare.place} | {' | '.join(errors)} |\n|---|---|---|---|\n"
    return head + "".join(
        f"| {value} | {' | '.join(_mean_and_range(column[value]) for column in columns)} |\n"
        for value in compare.values
    )


def _mean_and_range(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.5g} ({min(values):.5g} to {max(values):.5g})"


def _bounds(bounds: Threshold) -> str:
    if bounds.minimum is None:
        return f"≤ {bounds.maximum:g}"
    if bounds.maximum is None:
        return f"≥ {bounds.minimum:g}"
    return f"{bounds.minimum:g} to {bounds.maximum:g}"


_FROM_WORST = ("**no**", "no, within noise", "yes, within noise", "yes")


def _verdict(values: Sequence[float], bounds: Threshold, *, examples: float | None) -> str:
    """Whether the mean of some runs is within bounds, and whether that is more than noise."""
    mean = statistics.fmean(values)
    errors = [statistics.stdev(values) / math.sqrt(len(values))] if len(values) > 1 else []
    if examples and 0 <= mean <= 1:
        errors.append(math.sqrt(mean * (1 - mean) / examples))
    margins = [abs(mean - bound) for bound in (bounds.minimum, bounds.maximum) if bound is not None]
    is_noise = min(margins) < 2 * max(errors, default=0.0)
    if _is_within(mean, bounds):
        return "yes, within noise" if is_noise else "yes"
    return "no, within noise" if is_noise else "**no**"


def _examples(metric: str, runs: Sequence[Run]) -> float | None:
    """Number of examples behind an accuracy of the test split; None for other metrics."""
    return runs[0].figures.get("examples") if metric == "accuracy" else None


def _code(measured: Measured, pipeline: Pipeline) -> str:
    commit = measured.git_commit[:7] + ("+" if measured.git_dirty else "")
    if measured.numerics is None:
        return f"{commit}, older numerics"
    model = pipeline.train.model
    layers = {layer.kind for layer in model.every_layer} if isinstance(model, Model) else set()
    older = [one for one in MEASURED_STAGES if has_changed(one, measured.numerics.get(one, 0), layers=layers)]
    return f"{commit}, older numerics of {', '.join(older)}" if older else commit


def _is_within(value: float, bounds: Threshold) -> bool:
    low = bounds.minimum is None or value >= bounds.minimum
    return low and (bounds.maximum is None or value <= bounds.maximum)


def _machine(measured: Mapping[str, Measured]) -> str:
    """Versions, workers and cores, one line for all pipelines with the same."""
    made: dict[str, list[str]] = {}
    for name, one in measured.items():
        versions = ", ".join(f"{package} {version}" for package, version in one.versions.items())
        workers = "1 worker" if one.workers == 1 else f"{one.workers} workers"
        made.setdefault(f"{workers} on {one.cores} cores, {versions}", []).append(f"`{name}`")
    return "".join(f"\n- {how}: {', '.join(names)}" for how, names in made.items()) + ("\n" if made else "")
