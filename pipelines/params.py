"""params.yaml as frozen, range-checked models."""

import json
import re
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from headrace.components.errors import ParamsError
from headrace.components.evaluation.gate import check_metrics
from headrace.components.evaluation.monitor_settings import Monitor
from headrace.components.evaluation.settings import DriftLimits, Evaluate, Register, Results
from headrace.components.models.classifier_settings import Classifier
from headrace.components.models.layers.shape import Shape
from headrace.components.models.named_inputs import input_features
from headrace.components.models.own_model_code import model_code
from headrace.components.models.settings import Model, OwnModel
from headrace.components.models.shapes import check_input, check_inputs, check_text
from headrace.components.nearest_name import nearest
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.schema.settings import Fraction, Settings
from headrace.components.schema.split_settings import Split
from headrace.components.sources.any_source import AnySource
from headrace.components.sources.own_rows.source import PythonSource
from headrace.components.sources.sql.source import SqlSource
from headrace.components.sources.text import TextSource
from headrace.components.tasks.metric_names import LAST
from headrace.components.tasks.task import Sections
from headrace.components.tasks.variants import task_of
from headrace.components.training.settings import Training
from headrace.components.transforms.backbone import Backbone
from headrace.components.transforms.chain_check import check
from headrace.components.transforms.own_transform import Python
from headrace.components.transforms.variants import AnyTransform, LabelTransform
from headrace.pipelines.distributed_plan import DistributedPlan
from headrace.pipelines.params_errors import explain, shown
from headrace.pipelines.parsed_yaml import parse_project_yaml
from headrace.pipelines.schedule import Schedule
from headrace.pipelines.yaml_dialect import read_text

Checked = TypeVar("Checked", bound=Settings)
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Ingest(ExampleSchema):
    """Where the data comes from, what an example consists of, and what happens to rows that fail the checks."""

    source: AnySource
    """The raw data; its `kind` decides the keys."""

    max_bad_fraction: Fraction = 0.0
    """Largest share of the rows that may fail the checks. Failing rows are dropped, counted in `ingest.json`, and kept
    with the reason in `rejected.parquet`.
    """

    repeated_keys: Literal["refuse", "first", "last"] = "refuse"
    """What happens to rows with the same key: an error, or the first or last of the source is kept."""

    duplicates: Literal["keep", "drop", "refuse"] = "keep"
    """Without a key: what happens to rows of equal content. If kept, they are all in one split."""

    drift: DriftLimits = DriftLimits()
    """How much the data may differ from the version before."""


class Normalize(Settings):
    """The transforms of each feature, in the order they are applied; a feature that is not named is left out."""

    transforms: Annotated[dict[str, tuple[AnyTransform, ...]], Field(min_length=1)]
    """The transforms of each feature that the model takes, in order. A feature that is not named is not used."""

    label: LabelTransform | None = None
    """`standardize` or `min_max`, for a number label; required for several numbers. Predictions and reports are in the
    label's own unit in any case.
    """

    @property
    def backbone(self) -> Backbone | None:
        """The network that makes features of an image; None where there is none."""
        return next((step for steps in self.transforms.values() for step in steps if isinstance(step, Backbone)), None)


class Train(DistributedPlan, Training):
    """The model, how it is trained, and on how many workers."""


class Pipeline(Settings):
    """One pipeline: one section per stage."""

    name: Name
    """Name of the pipeline: that of its section in params.yaml."""

    description: str
    """One line for the report, `headrace list` and Airflow."""

    ingest: Ingest
    """Where the data comes from, and what an example consists of."""

    normalize: Normalize
    """The features that the model takes, and the transforms of each."""

    split: Split
    """Which share of the examples is held out."""

    train: Train
    """The model, how it is trained, and on how many workers."""

    evaluate: Evaluate
    """What the report shows; `{}` takes the defaults. DVC needs the section to be there."""

    register_: Annotated[Register, Field(alias="register")]
    """What a model must reach to become champion."""

    monitor: Monitor = Monitor()
    """What `headrace monitor` alerts of, after deployment."""

    schedule: Schedule = Schedule()
    """When Airflow runs the pipeline."""

    results: Results = Results()
    """How `headrace results` measures the pipeline for docs/results.md."""

    @model_validator(mode="after")
    def _columns_are_known(self) -> Self:
        columns = set(self.ingest.columns)
        for column in self.normalize.transforms:
            if column not in self.ingest.features:
                raise ValueError(f"normalize.transforms.{column}: not a feature{nearest(column, columns)}")
        return self

    @model_validator(mode="after")
    def _later_stages_can_do_what_is_asked(self) -> Self:
        """Check here what normalize and register would refuse, the latter after hours of training."""
        register = self.register_
        try:
            check(self.ingest.features, self.normalize.transforms)
            check_metrics(task_of(self.ingest.label).metric_names, register, points=self.evaluate.points)
        except ParamsError as error:
            raise ValueError(str(error)) from error
        names = (*task_of(self.ingest.label).epoch_metric_names, LAST)
        has_own_metrics = isinstance(self.train.model, OwnModel)  # of its file, or of a train_step of its own
        if self.train.best_by not in names and not has_own_metrics:
            raise ValueError(f"train.best_by: no metric {self.train.best_by!r}{nearest(self.train.best_by, names)}")
        given_test = "test" in self.ingest.source.given_splits
        if given_test and self.split.test_fraction:
            raise ValueError("split.test_fraction: the source gives its own test set; leave test_fraction out")
        if given_test and self.split.held_out == "none":
            raise ValueError("split.held_out: the source gives a test set, so something is held out")
        return self

    @model_validator(mode="after")
    def _what_is_measured_is_there(self) -> Self:
        _check_points(self)
        _check_slices(self)
        _check_monitor(self)
        _check_calibration(self)
        _check_results(self)
        if "validation" not in self.split.names_held_out and self.train.best_by.startswith("validation_"):
            raise ValueError(f"train.best_by: split.held_out leaves no {self.train.best_by}; take loss")
        return self

    @model_validator(mode="after")
    def _inputs_fit_together(self) -> Self:
        taken = {name: self.ingest.features[name] for name in self.normalize.transforms}
        used = list(taken.values())
        task_of(self.ingest.label).check(_sections(self))
        if self.train.loss is not None:
            self.train.loss.check(self.ingest.label, label_smoothing=self.train.label_smoothing)
        if not isinstance(self.train.model, Model):
            return self  # its file says what it takes
        if self.train.model.inputs is not None:
            _check_inputs(self, self.train.model)
            return self
        if any(feature.is_input_of_its_own for feature in used) and len(used) > 1:
            raise ValueError(
                "normalize.transforms: beside other features, an image or a text needs an input of its own; give "
                "train.model.inputs"
            )
        for text in TextFeature.among(taken).values():
            _check_text(self, text, self.train.model)
            return self
        shape = _shape_before(used[0], has_backbone=self.normalize.backbone is not None)
        check_input(self.train.model, input_shape=shape)
        return self


def _shape_before(feature: Feature, *, has_backbone: bool) -> Shape:
    """Shape of a feature before a model's layers: its own, or columns whose number is not yet known."""
    return feature.shape if feature.is_input_of_its_own and not has_backbone else (None,)


def _sections(pipeline: Pipeline) -> Sections:
    train, evaluate = pipeline.train, pipeline.evaluate
    return Sections(
        schema=pipeline.ingest,
        transforms=pipeline.normalize.transforms,
        label_transform=pipeline.normalize.label,
        split=pipeline.split,
        model=train.model,
        best_by=train.best_by,
        class_weights=train.class_weights,
        label_smoothing=train.label_smoothing,
        judge=evaluate.judge,
        points=evaluate.points,
        is_predicted_on_schedule=pipeline.schedule.predict is not None,
    )


def _check_text(pipeline: Pipeline, text: TextFeature, model: Model) -> None:
    """Raise ValueError where source, text and model do not fit together."""
    source = pipeline.ingest.source
    if isinstance(source, TextSource) and text.unit == "character" and text.length != source.length:
        raise ValueError(f"ingest: the source's length is {source.length}, the text's {text.length}; make them equal")
    check_text(model, length=text.length, each_token=False)


def _check_inputs(pipeline: Pipeline, model: Model) -> None:
    """Raise ValueError where the features do not fit the inputs, or what these give does not fit the layers."""
    features, transforms = pipeline.ingest.features, pipeline.normalize.transforms
    shapes: dict[str, Shape] = {}
    try:
        groups = input_features(model.inputs or {}, list(transforms))
    except ParamsError as error:
        raise ValueError(str(error)) from error
    for name, names in groups.items():
        used = [features[one] for one in names]
        if len(used) > 1 and any(one.is_input_of_its_own for one in used):
            raise ValueError(f"train.model.inputs.{name}: an image or a text can't be beside others; give it an input")
        has_backbone = any(isinstance(step, Backbone) for step in transforms[names[0]])
        if any(isinstance(step, Backbone) and step.augmented_copies for step in transforms[names[0]]):
            raise ValueError(
                f"train.model.inputs.{name}: augmented_copies are for a model of one input; leave them out"
            )
        if used[0].is_encoded and not has_backbone:
            raise ValueError(f"train.model.inputs.{name}: encoded images must be the only input; set encoding: tensor")
        shapes[name] = _shape_before(used[0], has_backbone=has_backbone)
    texts = [name for name, names in groups.items() if TextFeature.among({names[0]: features[names[0]]})]
    check_inputs(model, shapes=shapes, texts=texts)


def _check_points(pipeline: Pipeline) -> None:
    """Raise ValueError for points that are no inputs of the model, or whose names metrics have."""
    metrics, inputs = task_of(pipeline.ingest.label).metric_names, set(pipeline.normalize.transforms)
    for name, point in pipeline.evaluate.points.items():
        if name in metrics:
            raise ValueError(f"evaluate.points.{name}: there is a metric of that name; take another")
        if set(point) != inputs:
            raise ValueError(f"evaluate.points.{name}: expected values of {', '.join(sorted(inputs))}, found {point}")


def _check_slices(pipeline: Pipeline) -> None:
    """Raise ValueError for slices by what is no category, and for evidence that the label or the split can't give."""
    categories = list(CategoryFeature.among(pipeline.ingest.features))
    register, measures_rows = pipeline.register_, task_of(pipeline.ingest.label).generates != "images"
    for place, one in enumerate(register.slices):
        for name in one.columns:
            if name not in categories:
                raise ValueError(f"register.slices.{place}.by: no category {name!r}{nearest(name, categories)}")
    if not measures_rows and (register.guards or register.slices):
        raise ValueError("register: guards and slices are of rows, and generated images have none; leave them out")


def _check_monitor(pipeline: Pipeline) -> None:
    """Raise ValueError for metrics that there are not, and slices by what is not in the predictions."""
    monitor, names = pipeline.monitor, task_of(pipeline.ingest.label).metric_names
    parts = [("", monitor.thresholds, monitor.guards or {})]
    parts += [(f"slices.{place}.", one.thresholds, one.guards) for place, one in enumerate(monitor.slices)]
    for prefix, thresholds, guards in parts:
        for key, metrics in (("thresholds", thresholds), ("guards", guards)):
            for name in metrics:
                if name not in names:
                    raise ValueError(f"monitor.{prefix}{key}: there is no metric {name!r}{nearest(name, names)}")
    taken = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    categories = list(CategoryFeature.among(taken))
    for place, part in enumerate(monitor.slices):
        for name in part.columns:
            if name not in categories:
                hint = nearest(name, categories)
                raise ValueError(f"monitor.slices.{place}.by: the model takes no category {name!r}{hint}")


def _check_calibration(pipeline: Pipeline) -> None:
    """Raise ValueError for calibration of what gives no probabilities, or whose validation rows it can't take."""
    if pipeline.train.calibration == "none":
        return
    used = [pipeline.ingest.features[name] for name in pipeline.normalize.transforms]
    if not isinstance(pipeline.ingest.label, CategoryLabel):
        raise ValueError("train.calibration: only the probabilities of a category are calibrated; leave it out")
    if "validation" not in pipeline.split.names_held_out:
        raise ValueError("train.calibration: it takes validation rows; let split.held_out leave some")
    is_of_images = any(one.is_encoded for one in used) or pipeline.normalize.backbone is not None
    if not isinstance(pipeline.train.model, Model) or is_of_images:
        raise ValueError(
            "train.calibration: it is for models of layers or an architecture, without encoded images or a backbone"
        )


def _check_results(pipeline: Pipeline) -> None:
    """Raise ValueError for folds that do not cover the examples, and for metrics that no training has."""
    results, split, task = pipeline.results, pipeline.split, task_of(pipeline.ingest.label)
    if results.folds and abs(results.folds * split.test_fraction - 1) > 1e-9:
        raise ValueError(f"results.folds: {results.folds} folds need split.test_fraction: {1 / results.folds:g}")
    epoch_metrics = (name if name.startswith("validation_") else f"training_{name}" for name in task.epoch_metric_names)
    names = [*task.metric_names, *pipeline.evaluate.points, *epoch_metrics]
    for name in results.reach:
        if name not in names:
            raise ValueError(f"results.reach.{name}: no such metric{nearest(name, names)}")


def load_pipeline(params_file: Path, pipeline: str, *, root: Path | None = None) -> Pipeline:
    """One pipeline's section of params.yaml; raises ParamsError with file, place and what to change if it is wrong.

    `root` is the folder of the project's own code, by default that of the file.
    """
    return pipeline_loader(params_file, root=root)(pipeline)


def pipeline_loader(params_file: Path, *, root: Path | None = None) -> Callable[[str], Pipeline]:
    """`load_pipeline` by name alone, of a file that is read once, for many pipelines."""
    content = _read(params_file)
    return partial(_load, content, _pipeline_names(content, params_file), params_file, root or params_file.parent)


def load_pipelines(params_file: Path) -> dict[str, Pipeline]:
    """All pipelines of params.yaml by name, in its order; raises as `load_pipeline` does."""
    load = pipeline_loader(params_file)
    return {name: load(name) for name in list_pipelines(params_file)}


def _load(content: dict[str, Any], names: tuple[str, ...], params_file: Path, root: Path, pipeline: str) -> Pipeline:
    if pipeline in _names(content, "classifiers", params_file):
        raise ParamsError(f"{pipeline} only predicts, so it has no stages: `headrace predict {pipeline} --input FILE`")
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
        found = validated(Pipeline, {"name": pipeline, **_with_present_names(section)})
    except ValidationError as error:
        raise ParamsError("\n".join(explain(params_file, pipeline, error, model=Pipeline))) from error
    _check_own_code(found, params_file, root)
    return found


def _with_present_names(section: dict[str, Any]) -> dict[str, Any]:
    """A section with `register.compare` where it has `register.compare_by`, as Headrace 0.1 called the metric."""
    match section:
        case {"register": {"compare_by": str(metric), **rest} as register} if "compare" not in register:
            return {**section, "register": {**rest, "compare": {"metric": metric}}}
    return section


def _check_own_code(pipeline: Pipeline, params_file: Path, root: Path) -> None:
    """Raise ParamsError for files and functions that can't be what the pipeline names; none of them is run."""
    source, model = pipeline.ingest.source, pipeline.train.model
    place = "ingest.source"
    try:
        if isinstance(source, PythonSource):
            source.code(root)
        if isinstance(source, SqlSource):
            source.read_query(root)
        for name, steps in pipeline.normalize.transforms.items():
            place = f"normalize.transforms.{name}"
            for step in steps:
                if isinstance(step, Python):
                    OwnCode.of(root, [step.file])
        place = "train.model"
        if isinstance(model, OwnModel):
            model_code(root, model)
    except ParamsError as error:
        raise ParamsError(f"{params_file.name}: {pipeline.name}.{place}: {error}") from error


def load_classifier(params_file: Path, name: str) -> Classifier | None:
    """Load a network that only predicts; None where `classifiers` does not name it. Raises as `load_pipeline` does."""
    content = _read(params_file)
    if name not in _names(content, "classifiers", params_file):
        return None
    try:
        return validated(Classifier, content.get(name))
    except ValidationError as error:
        raise ParamsError("\n".join(explain(params_file, name, error, model=Classifier))) from error


def validated(model: type[Checked], content: Any) -> Checked:
    """Settings from what YAML or JSON holds; raises pydantic's ValidationError.

    As JSON, for which strict types mean what users mean: a list may be a tuple, a text but no number a date.
    """
    return model.model_validate_json(json.dumps(content), strict=True)


def _names(content: dict[str, Any], key: str, params_file: Path) -> tuple[str, ...]:
    names = content.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ParamsError(f"{params_file}: expected `{key}`, a list of names, each once, found {shown(names)}")
    return tuple(names)


def with_workers(pipeline: Pipeline, workers: str) -> Pipeline:
    """The pipeline with `train.num_workers` from the command line: "4", or "1:4" for a range.

    Raises ParamsError for anything else, and where the batches are too small for so many.
    """
    expected = f"--workers {workers}: expected a number, or a range such as 1:4; "
    if not (typed := re.fullmatch(r"(\d{1,9})(?::(\d{1,9}))?", workers, re.ASCII)):
        raise ParamsError(f"{expected}this is neither")
    least, most = int(typed[1]), typed[2] and int(typed[2])
    num_workers = least if most is None else {"min": least, "max": most}
    try:
        train = Train.model_validate({**pipeline.train.model_dump(), "num_workers": num_workers})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ParamsError(f"{expected}{reason}") from error
    return pipeline.model_copy(update={"train": train})


def list_pipelines(params_file: Path) -> tuple[str, ...]:
    """Names of all pipelines, in the order of params.yaml."""
    return _pipeline_names(_read(params_file), params_file)


def _pipeline_names(content: dict[str, Any], params_file: Path) -> tuple[str, ...]:
    if "pipelines" not in content:
        raise ParamsError(f"{params_file}: expected `pipelines`, a list of names")
    return _names(content, "pipelines", params_file)


def _read(params_file: Path) -> dict[str, Any]:
    content = _parsed(read_text(params_file), params_file)
    if not isinstance(content, dict):
        raise ParamsError(f"{params_file}: expected sections by name, found {type(content).__name__}")
    return content


@lru_cache(maxsize=2)
def _parsed(text: str, params_file: Path) -> Any:
    """Content of the text, cached: a command loads its pipeline in several places."""
    return parse_project_yaml(text, params_file)
