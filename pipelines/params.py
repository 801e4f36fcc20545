"""params.yaml as frozen, range-checked models. The only reader of that file."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from components.errors import ParamsError
from components.evaluation.gate import check_metrics, metric_names
from components.examples.settings import CategoryLabel, Feature, ImageFeature, Label
from components.models.shapes import Shape, output_shape
from components.settings import Settings
from components.sources.settings import Source
from components.training.figures import figure_names
from components.training.settings import Training
from components.transforms.check import check
from components.transforms.settings import LabelTransform, Transform
from pipelines.mistakes import explain, nearest

Fraction = Annotated[float, Field(ge=0, lt=1)]
ADDED_COLUMNS = ("example_id", "given_split")
Workers = Annotated[int, Field(ge=1, le=1024)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Ingest(Settings):
    """Where the data comes from and what an example is made of."""

    source: Source
    features: Annotated[dict[str, Feature], Field(min_length=1)]
    label: Label
    key: tuple[str, ...] = ()
    max_bad_fraction: Fraction = 0.0

    @model_validator(mode="after")
    def _columns_have_their_own_names(self) -> Self:
        if self.label.name in self.features:
            raise ValueError(f"the label {self.label.name!r} is also a feature: a model would be told the answer")
        for name in (*self.features, self.label.name):
            if name in ADDED_COLUMNS or (name == "label" and name in self.features):
                raise ValueError(f"a column can't be called {name!r}: Headrace adds one of that name")
        return self


class Normalize(Settings):
    """The transforms of each feature, in the order they are applied; a feature that is not named is left out."""

    transforms: Annotated[dict[str, tuple[Transform, ...]], Field(min_length=1)]
    label: LabelTransform | None = None


class Split(Settings):
    """Which share of the examples is held out; a source's own test set stays the test set."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    validation_fraction: Fraction
    test_fraction: Fraction = 0.0

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave no training examples")
        return self


class ElasticWorkers(Settings):
    """As many workers as the cluster has room for, from `min` to `max`."""

    min: Workers = 1
    max: Workers

    @model_validator(mode="after")
    def _min_is_not_above_max(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


NumWorkers = Annotated[
    Annotated[Workers, Tag("(number)")] | Annotated[ElasticWorkers, Tag("(range)")],
    Discriminator(lambda value: "(range)" if isinstance(value, dict | ElasticWorkers) else "(number)"),
]


class Train(Training):
    """The model, how it is trained, and on how many workers."""

    num_workers: NumWorkers = 2
    use_gpu: bool = False
    max_failures: Annotated[int, Field(ge=0, le=1000)] = 3
    start_timeout_seconds: Annotated[float, Field(ge=10, le=86_400)] = 180

    @property
    def min_workers(self) -> int:
        """The fewest workers that train."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers.min

    @property
    def max_workers(self) -> int:
        """The most workers that train."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers.max

    @model_validator(mode="after")
    def _a_batch_is_enough_for_all(self) -> Self:
        # Twice, because an epoch's examples are dealt evenly over its batches, which may halve them.
        if self.global_batch_size < 2 * self.max_workers > 2:
            raise ValueError(
                f"global_batch_size {self.global_batch_size} is too small for {self.max_workers} workers; raise it to "
                f"{2 * self.max_workers} or more, or lower num_workers"
            )
        return self


class Evaluate(Settings):
    """What the report shows."""

    worst_examples: Annotated[int, Field(ge=0, le=100)] = 12


class Threshold(Settings):
    """The range a metric on the test split must be in."""

    minimum: float | None = None
    maximum: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if self.minimum is None and self.maximum is None:
            raise ValueError("give minimum, maximum or both")
        return self


class Register(Settings):
    """What a model must reach to become champion: every threshold, and a better `compare_by` than the present one's."""

    thresholds: dict[str, Threshold]
    compare_by: str


class Alerts(Settings):
    """Who is told how a run ended, and when. Where it is told to is a secret: params.yaml has only the secret's name.

    `webhook` is `connection:ID` (its host is the whole address, its password a bearer token), `variable:NAME` or
    `environment:NAME`. E-mail goes by Airflow's own connection (`[email] email_conn_id`, smtp_default).
    """

    after: Literal["failure", "success_too", "never"] = "failure"
    webhook: Annotated[str, Field(pattern=r"^(connection|variable|environment):[\w.\-]+$")] | None = None
    email: tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...] = ()


class Prediction(Settings):
    """Raw rows or images that are predicted whenever there is a new champion, or new data."""

    input: Annotated[str, Field(min_length=1)]
    output: Annotated[str, Field(min_length=1)]
    after: Annotated[tuple[Literal["champion", "dataset"], ...], Field(min_length=1)] = ("champion",)


class Schedule(Settings):
    """When Airflow runs the pipeline, how often it tries a task again, and who is told how it ended.

    A run reads the data of its own interval, between two times of `cron`; with `catchup` it is also run for all that
    lie between `start_date` and now. `deadline_hours` after it was queued, a run that is not done is told of.
    """

    cron: str | None = None
    start_date: date = date(2026, 1, 1)
    catchup: bool = False
    max_active_runs: Annotated[int, Field(ge=1, le=64)] = 4
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    deadline_hours: Annotated[float, Field(gt=0)] | None = None
    partition_timeout_hours: Annotated[float, Field(gt=0)] = 6
    alerts: Alerts = Alerts()
    predict: Prediction | None = None
    owner: str = "headrace"
    tags: tuple[str, ...] = ()


class Pipeline(Settings):
    """One pipeline: one section per stage."""

    name: Name
    description: str
    ingest: Ingest
    normalize: Normalize
    split: Split
    train: Train
    evaluate: Evaluate
    register_: Annotated[Register, Field(alias="register")]
    schedule: Schedule = Schedule()

    @model_validator(mode="after")
    def _columns_are_known(self) -> Self:
        columns = set(self.ingest.features) | {self.ingest.label.name}
        for column in self.normalize.transforms:
            if column not in self.ingest.features:
                raise ValueError(f"normalize.transforms.{column}: not a feature{nearest(column, columns)}")
        return self

    @model_validator(mode="after")
    def _later_stages_can_do_what_is_asked(self) -> Self:
        """Ask here what normalize and register would refuse, the latter after hours of training."""
        register = self.register_
        try:
            check(self.ingest.features, self.normalize.transforms)
            metrics = metric_names(self.ingest.label)
            check_metrics(metrics, thresholds=register.thresholds, compare_by=register.compare_by)
        except ParamsError as error:
            raise ValueError(str(error)) from error
        _check_training(self.train, self.ingest.label)
        given_test = any(part.given_split == "test" for part in getattr(self.ingest.source, "parts", ()))
        if given_test and self.split.test_fraction:
            raise ValueError("split.test_fraction: the source gives its own test set; leave test_fraction out")
        return self

    @model_validator(mode="after")
    def _inputs_fit_together(self) -> Self:
        used = [self.ingest.features[name] for name in self.normalize.transforms]
        if any(isinstance(feature, ImageFeature) for feature in used) and len(used) > 1:
            raise ValueError("normalize.transforms: an image must be the only input of a model")
        if self.normalize.label is not None and isinstance(self.ingest.label, CategoryLabel):
            raise ValueError("normalize.label: only a number can be transformed, and the label is a category")
        shape: Shape = used[0].shape if isinstance(used[0], ImageFeature) else (None,)
        output_shape(self.train.model.layers, input_shape=shape)
        return self


def _check_training(train: Train, label: Label) -> None:
    """Raise ValueError for what the train section asks of a label that this label does not have."""
    names = figure_names(label)
    if train.best_by not in names:
        raise ValueError(f"train.best_by: no figure {train.best_by!r}{nearest(train.best_by, names)}")
    if isinstance(label, CategoryLabel):
        unknown = set(train.class_weights if isinstance(train.class_weights, dict) else ()) - set(label.classes)
        if unknown:
            name = sorted(unknown)[0]
            raise ValueError(f"train.class_weights: no class {name!r}{nearest(name, label.classes)}")
    elif train.class_weights is not None or train.label_smoothing:
        raise ValueError("train.class_weights and train.label_smoothing are for categories, and the label is a number")


def load_pipeline(params_file: Path, pipeline: str) -> Pipeline:
    """Return one pipeline's section of params.yaml; raise ParamsError, naming file, place and mend, if it is wrong."""
    content = _read(params_file)
    names = list_pipelines(params_file)
    if pipeline not in names:
        raise ParamsError(
            f"no pipeline {pipeline!r} in {params_file}{nearest(pipeline, names)}; there are: {', '.join(names)}"
        )
    section = content.get(pipeline)
    if not isinstance(section, dict):
        raise ParamsError(f"{params_file}: pipelines names {pipeline!r}, but there is no section {pipeline!r}")
    if "name" in section:
        raise ParamsError(f"{params_file.name}: {pipeline}.name: unknown name; a pipeline is named by its section")
    try:
        return Pipeline.model_validate({"name": pipeline, **section})
    except ValidationError as error:
        raise ParamsError("\n".join(explain(params_file, pipeline, error, model=Pipeline))) from error


def with_workers(pipeline: Pipeline, workers: str) -> Pipeline:
    """Return the pipeline with `train.num_workers` as a person types it: "4", or "1:4" for a range.

    Raises ParamsError for anything else, and where the batches are too small for so many.
    """
    least, colon, most = workers.partition(":")
    num_workers = {"min": least, "max": most} if colon else least
    try:
        train = Train.model_validate({**pipeline.train.model_dump(), "num_workers": num_workers}, strict=False)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ParamsError(f"--workers {workers}: expected a number, or a range such as 1:4; {reason}") from error
    return pipeline.model_copy(update={"train": train})


def list_pipelines(params_file: Path) -> tuple[str, ...]:
    """Return the names of all pipelines, in the order of params.yaml."""
    names = _read(params_file).get("pipelines")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ParamsError(f"{params_file}: expected `pipelines`, a list of names, found {names!r}")
    return tuple(names)


def _read(params_file: Path) -> dict[str, Any]:
    try:
        content = yaml.load(params_file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise ParamsError(f"can't read {params_file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{params_file} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ParamsError(f"{params_file}: expected sections by name, found {type(content).__name__}")
    return content
