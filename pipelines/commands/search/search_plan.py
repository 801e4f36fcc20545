"""The trials of a search: their settings, their folders, and outcomes of earlier searches."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples.shards import digest
from headrace.components.files.atomic import replace_file
from headrace.components.files.records import read_record
from headrace.components.nearest_name import nearest
from headrace.components.schema.settings import Settings
from headrace.components.tasks.metric_names import LAST, lower_is_better
from headrace.components.tasks.variants import task_of
from headrace.pipelines.artifacts.split_manifest import read_manifest
from headrace.pipelines.commands.search.search_space import Axis, Values, check_axes, combinations, values_text
from headrace.pipelines.fetching.pretrained import fetch_pretrained
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project.edit_params import with_values
from headrace.pipelines.ray_tune.trials import Outcome, Trial
from headrace.pipelines.remote_training.provenance import IGNORED_BY_TRIALS
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.split import split
from headrace.pipelines.tracking.initial_model import fetch_start

OUTCOME = "outcome.json"


@dataclass(frozen=True)
class Search:
    """The search that the command line requests."""

    axes: tuple[Axis, ...]
    metric: str
    draws: int
    seed: int
    early_stop: bool
    at_once: int

    @property
    def makes_data(self) -> bool:
        """Whether each trial has data of its own, instead of the project's splits."""
        return not all(axis.place.startswith("train.") for axis in self.axes)

    def name(self, pipeline: str) -> str:
        """Name of the search, by a digest of all that decides its trials except their number."""
        content = [[axis.typed for axis in self.axes], self.metric, self.seed, self.early_stop]
        return f"{pipeline}-tune-{_sha256(json.dumps(content))[:12]}"


@dataclass(frozen=True)
class Planned:
    """One trial to be: `key` is a digest of its data and settings."""

    trial: Trial
    values: Values
    key: str

    @property
    def number(self) -> int:
        """Counted from 1."""
        return self.trial.number


class Done(Settings):
    """What is kept of a trial that ended."""

    key: str
    outcome: Outcome


def plan_search(pipeline: Pipeline, paths: PipelinePaths, search: Search) -> tuple[Planned, ...]:
    """Plan the trials; raise ParamsError for values that params.yaml may not hold, DataError without data."""
    if search.metric not in (names := task_of(pipeline.ingest.label).epoch_metric_names):
        raise ParamsError(f"--metric {search.metric}: no metric of that name{nearest(search.metric, names)}")
    found = combinations(search.axes, draws=search.draws, seed=search.seed)
    check_axes(pipeline, search.axes, found[0])
    pipelines = [_changed(pipeline, values) for values in found]
    data_digest, name = _data_digest(paths, makes_data=search.makes_data), search.name(pipeline.name)
    start_of = cache(lambda start_from: fetch_start(_starting_from(pipeline, start_from), paths))
    plan = []
    for number, (values, changed) in enumerate(zip(found, pipelines, strict=True), start=1):
        folder = ProjectPaths(paths.root).state / "tune" / name / f"trial-{number:05d}"
        trial = Trial(
            number=number,
            name=f"{name}-{number:05d}",
            folder=folder,
            project=paths.root,
            makes_data=search.makes_data,
            pipeline=changed,
            start_weights=start_of(changed.train.start_from),
            pretrained=fetch_pretrained(changed, paths),
            trials_on_node=search.at_once,
        )
        plan.append(Planned(trial, values, _key(trial, data_digest)))
    return tuple(plan)


def known_outcomes(plan: Sequence[Planned]) -> dict[int, Outcome]:
    """Outcomes of earlier trials with the same data and settings, by trial number."""
    files = plan[0].trial.folder.parent.glob(f"*/{OUTCOME}")
    known = {done.key: done.outcome for file in files if (done := _read(file)) is not None}
    return {one.number: known[one.key] for one in plan if one.key in known}


def keep_outcome(planned: Planned, outcome: Outcome) -> None:
    """Keep how a trial ended; one that failed will run again."""
    if outcome.status != "failed":
        with replace_file(planned.trial.folder / OUTCOME) as file:
            done = Done(key=planned.key, outcome=outcome)
            file.write_text(done.model_dump_json(indent=1) + "\n", encoding="utf-8")


def kept_metrics(trial: Trial, outcome: Outcome) -> dict[str, float]:
    """Metrics of the epoch whose weights the training would publish."""
    best_by = trial.pipeline.train.best_by
    if best_by == LAST:
        return outcome.history[-1]
    best = min if lower_is_better(best_by) else max
    return best(outcome.history, key=lambda metrics: metrics[best_by])


def make_data(trial: Trial) -> None:
    """Write the trial's own normalized examples and splits, from the project's examples."""
    own, project = (PipelinePaths(root, trial.pipeline.name) for root in (trial.folder, trial.project))
    if not own.examples.exists():
        own.examples.parent.mkdir(parents=True, exist_ok=True)
        own.examples.symlink_to(project.examples, target_is_directory=True)
    normalize(trial.pipeline, own)
    split(trial.pipeline, own)


def _changed(pipeline: Pipeline, values: Values) -> Pipeline:
    try:
        return with_values(pipeline, values)
    except ParamsError as error:
        raise ParamsError(f"--search: these values don't go together: {values_text(values)}: {error}") from error


def _starting_from(pipeline: Pipeline, start_from: str | None) -> Pipeline:
    return pipeline.model_copy(update={"train": pipeline.train.model_copy(update={"start_from": start_from})})


def _data_digest(paths: PipelinePaths, *, makes_data: bool) -> str:
    """A digest of the trials' inputs: examples, or the project's splits and how they were transformed."""
    if makes_data:
        return digest(paths.examples)
    if not (paths.manifest.is_file() and paths.statistics.is_file()):
        raise DataError(f"no splits of {paths.pipeline!r}; run `headrace split {paths.pipeline}` first")
    return _sha256(read_manifest(paths).digest + paths.statistics.read_text(encoding="utf-8"))


def _key(trial: Trial, data_digest: str) -> str:
    pipeline, start, pretrained = trial.pipeline, trial.start_weights, trial.pretrained
    begun_with = sorted(start.rglob("*.*") if start.is_dir() else [start]) if start else []
    settings = [
        pipeline.ingest.model_dump_json(include={"features", "label"}),
        pipeline.normalize.model_dump_json(),
        pipeline.split.model_dump_json(),
        pipeline.train.model_dump_json(exclude=set(IGNORED_BY_TRIALS)),
        *([pretrained.parent.name] if pretrained else []),  # a digest of the content
    ]
    return _sha256("\n".join([data_digest, digest(begun_with), *settings]))


def _read(file: Path) -> Done | None:
    return read_record(file, Done.model_validate_json, lost="that trial is trained again")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
