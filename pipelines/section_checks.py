"""What the sections of a pipeline ask of each other, asked before any work."""

from collections.abc import Mapping, Sequence

from headrace.components.evaluation.settings import JudgeSettings
from headrace.components.examples.settings import CategoryFeature, CategoryLabel, ExampleSchema, GeneratedLabel, Label
from headrace.components.examples.split_settings import Split
from headrace.components.models.settings import Gan
from headrace.components.training.metric_names import LAST, figure_names
from headrace.components.training.settings import Training
from headrace.components.transforms.transform import Transform
from headrace.pipelines.params_errors import nearest


def check_training(training: Training, label: Label) -> None:
    """Raise ValueError for what the train section asks of a label that this label does not have."""
    names = (*figure_names(label), LAST)
    if training.best_by not in names:
        raise ValueError(f"train.best_by: no figure {training.best_by!r}{nearest(training.best_by, names)}")
    if isinstance(label, CategoryLabel):
        unknown = set(training.class_weights if isinstance(training.class_weights, dict) else ()) - set(label.classes)
        if unknown:
            name = sorted(unknown)[0]
            raise ValueError(f"train.class_weights: no class {name!r}{nearest(name, label.classes)}")
    elif isinstance(label, GeneratedLabel) and training.class_weights is None:
        return
    elif training.class_weights is not None or training.label_smoothing:
        raise ValueError("train.class_weights and train.label_smoothing are for categories, and the label is none")


def check_generated(
    schema: ExampleSchema,
    *,
    transforms: Mapping[str, Sequence[Transform]],
    split: Split,
    training: Training,
    judge: JudgeSettings | None,
) -> None:
    """Raise ValueError where one section makes images and another does not."""
    label, is_gan = schema.label, isinstance(training.model.architecture, Gan)
    if not isinstance(label, GeneratedLabel):
        if is_gan:
            raise ValueError(
                f"train.model.architecture: gan makes images; ingest.label is a {label.type}, not generated"
            )
        if judge is not None:
            raise ValueError(f"evaluate.judge: it is for images that are generated, and ingest.label is a {label.type}")
        return
    if not is_gan:
        raise ValueError("train.model: the label generated needs an architecture of kind gan")
    if list(transforms) != [label.name] or [step.kind for step in transforms[label.name]] != ["scale_pixels"]:
        raise ValueError(
            f"normalize.transforms: expected {label.name}: [{{kind: scale_pixels}}] alone, because images are made of "
            f"values from 0 to 1; found {', '.join(transforms)}"
        )
    if "validation" in split.names_held_out:
        raise ValueError("split.held_out: no figure of generated images is made by validation; set it to test or none")
    if training.best_by != LAST:
        raise ValueError(f"train.best_by: no metric rates generated images; expected {LAST}, found {training.best_by}")
    _check_judge(schema, judge)


def _check_judge(schema: ExampleSchema, judge: JudgeSettings | None) -> None:
    categories = {name: one for name, one in schema.features.items() if isinstance(one, CategoryFeature)}
    if judge is None:
        raise ValueError(
            f"evaluate.judge: generated images need one, such as {{by: {next(iter(categories), 'CLASS')}}}"
        )
    feature = categories.get(judge.by)
    if feature is None or not feature.classes or len(feature.classes) < 2 or feature.nullable:
        raise ValueError(
            f"evaluate.judge.by: expected a category of ingest.features with two classes or more, never missing; "
            f"found {judge.by!r}{nearest(judge.by, categories)}"
        )
