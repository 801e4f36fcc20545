"""What several tasks refuse of a pipeline's sections."""

from headrace.components.models.settings import Gan, Model
from headrace.components.tasks.task import Sections


def refuse_class_weights(sections: Sections) -> None:
    """Raise ValueError for weights of classes, which the label does not have."""
    if sections.class_weights is not None or sections.label_smoothing:
        raise ValueError("train.class_weights and train.label_smoothing are for categories, and the label is none")


def refuse_points(sections: Sections) -> None:
    """Raise ValueError for points, whose predictions are no numbers."""
    if sections.points:
        raise ValueError("evaluate.points: only a number can be a metric, and the label is none")


def refuse_label_transform(sections: Sections) -> None:
    """Raise ValueError for the transform of a label that is no number."""
    if sections.label_transform is not None:
        raise ValueError("normalize.label: only a number can be transformed, and the label is none")


def refuse_images(sections: Sections) -> None:
    """Raise ValueError for sections that make images, where the label is predicted."""
    kind = sections.schema.label.type
    if isinstance(sections.model, Model) and isinstance(sections.model.architecture, Gan):
        raise ValueError(f"train.model.architecture: gan makes images; ingest.label is a {kind}, not generated")
    if sections.judge is not None:
        raise ValueError(f"evaluate.judge: it is for images that are generated, and ingest.label is a {kind}")
