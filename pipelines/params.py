"""params.yaml as frozen, range-checked models. The only reader of that file."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from components.errors import ParamsError
from components.evaluation.gate import check_metrics, metric_names
from components.examples.settings import CategoryLabel, Feature, ImageFeature, Label
from components.models.shapes import Shape, output_shape
from components.settings import Settings
from components.sources.settings import Source
from components.training.settings import Training
from components.transforms.check import check
from components.transforms.settings import LabelTransform, Transform

Fraction = Annotated[float, Field(ge=0, lt=1)]
ADDED_COLUMNS = ("example_id", "given_split")
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


class Train(Training):
    """The model, how it is trained, and on how many workers."""

    num_workers: Annotated[int, Field(ge=1, le=1024)] = 2
    max_failures: Annotated[int, Field(ge=0, le=1000)] = 3

    @model_validator(mode="after")
    def _a_batch_is_enough_for_all(self) -> Self:
        # Twice, because an epoch's examples are dealt evenly over its batches, which may halve them.
        if self.global_batch_size < 2 * self.num_workers > 2:
            raise ValueError(
                f"global_batch_size {self.global_batch_size} is too small for {self.num_workers} workers; raise it to "
                f"{2 * self.num_workers} or more, or lower num_workers"
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


class Schedule(Settings):
    """When Airflow runs the pipeline, and how often it tries a task again."""

    cron: str | None = None
    retries: Annotated[int, Field(ge=0, le=20)] = 1
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
                raise ValueError(f"normalize.transforms.{column}: not a feature{_nearest(column, columns)}")
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


def load_pipeline(params_file: Path, pipeline: str) -> Pipeline:
    """Return one pipeline's section of params.yaml; raise ParamsError, naming file, place and mend, if it is wrong."""
    content = _read(params_file)
    names = list_pipelines(params_file)
    if pipeline not in names:
        raise ParamsError(
            f"no pipeline {pipeline!r} in {params_file}{_nearest(pipeline, names)}; there are: {', '.join(names)}"
        )
    section = content.get(pipeline)
    if not isinstance(section, dict):
        raise ParamsError(f"{params_file}: pipelines names {pipeline!r}, but there is no section {pipeline!r}")
    if "name" in section:
        raise ParamsError(f"{params_file.name}: {pipeline}.name: unknown name; a pipeline is named by its section")
    try:
        return Pipeline.model_validate({"name": pipeline, **section})
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(params_file, pipeline, error))) from error


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


def _explain(params_file: Path, pipeline: str, error: ValidationError) -> list[str]:
    """One line per mistake: where, what was expected, what was found, and the nearest valid name."""
    lines = []
    for problem in error.errors():
        if problem["type"] == "missing" and _is_misspelt(problem, error):
            continue  # the misspelt name has a line of its own
        place = ".".join(str(part) for part in (pipeline, *problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            valid = _names_at(Pipeline, problem["loc"][:-1])
            message = f"unknown name{_nearest(str(problem['loc'][-1]), valid)}"
        elif problem["type"] == "union_tag_invalid":
            context = problem["ctx"]
            valid = [tag.strip("' ") for tag in context["expected_tags"].split(",")]
            message = f"unknown {context['discriminator']} {context['tag']!r}{_nearest(context['tag'], valid)}"
        elif not isinstance(problem["input"], dict):
            message = f"{message}, found {problem['input']!r}"
        message = message[0].lower() + message[1:]
        lines.append(f"{params_file.name}: {place}: {message}")
    return lines


def _is_misspelt(missing: ErrorDetails, error: ValidationError) -> bool:
    """Whether a name that is missing stands there with a typo."""
    unknown = [str(one["loc"][-1]) for one in error.errors() if _is_unknown_beside(one, missing)]
    return bool(difflib.get_close_matches(str(missing["loc"][-1]), unknown, n=1, cutoff=0.5))


def _is_unknown_beside(problem: ErrorDetails, other: ErrorDetails) -> bool:
    return problem["type"] == "extra_forbidden" and problem["loc"][:-1] == other["loc"][:-1]


def _names_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The names that are valid at a place of params.yaml; union members appear in `location` by their tag."""
    models: list[type[BaseModel]] = [model]
    for part in location:
        models = [inner for outer in models for inner in _models_below(outer, part)] or models
    return sorted({field.alias or name for found in models for name, field in found.model_fields.items()})


def _models_below(model: type[BaseModel], part: int | str) -> list[type[BaseModel]]:
    for name, field in model.model_fields.items():
        if part in (name, field.alias):
            return _models_in(field.annotation, field.metadata)
    return [model] if part in _tags(model) else []


def _models_in(annotation: Any, _metadata: object = None) -> list[type[BaseModel]]:
    """Every settings class inside an annotation such as dict[str, A | B]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _models_in(inner)]


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """The values of a settings class's `kind` or `type`, by which a union tells its members apart."""
    return tuple(
        value
        for name in ("kind", "type")
        if name in model.model_fields
        for value in getattr(model.model_fields[name].annotation, "__args__", ())
    )


def _nearest(name: str, valid: Any) -> str:
    found = difflib.get_close_matches(name, [str(one) for one in valid], n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else f"; valid names: {', '.join(map(str, sorted(valid)))}"
