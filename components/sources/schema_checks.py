"""Checks of a schema against what a source can fill."""

from collections.abc import Mapping, Sequence

from headrace.components.errors import ParamsError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import GeneratedLabel

ENCODED_KINDS = ("images", "parquet", "arrow", "tfrecord")  # of sources whose images are files


def require_no_images(schema: ExampleSchema, *, kind: str) -> None:
    """Raise ParamsError for an image among the features."""
    for name in ImageFeature.among(schema.features):
        raise ParamsError(f"ingest.features.{name}: a source of kind {kind!r} gives no images")


def require_known(schema: ExampleSchema, columns: Sequence[str]) -> None:
    """Raise ParamsError if the key, the group, the time or the weight is a column that the source does not have."""
    time = (schema.time.column,) if schema.time else ()
    weight = (schema.sample_weight,) if schema.sample_weight else ()
    settings = {"key": schema.key, "group": schema.group, "time": time, "sample_weight": weight}
    for setting, names in settings.items():
        for name in names:
            if name not in columns:
                raise ParamsError(f"ingest.{setting}: no column {name!r}; this source gives {' and '.join(columns)}")


def only_image(features: Mapping[str, Feature], *, kind: str) -> tuple[str, ImageFeature]:
    """Name and settings of the one image that a picture source fills; raise ParamsError for other features."""
    images = ImageFeature.among(features)
    others = len(features) - len(images) if kind != "images" else 0  # which its labels file has
    match list(images.items()):
        case [(name, feature)] if not others:
            if kind not in ENCODED_KINDS and (feature.encoding, feature.resize) != ("tensor", "none"):
                kinds = ", ".join(map(repr, ENCODED_KINDS))
                raise ParamsError(f"ingest.features.{name}: encoding and resize are for a source of kind {kinds}")
            return name, feature
    found = ", ".join(f"{name} ({feature.type})" for name, feature in features.items())
    raise ParamsError(f"ingest.features: a source of kind {kind!r} gives exactly one image, found {found}")


def require_table_or_images(schema: ExampleSchema, *, kind: str) -> None:
    """Raise ParamsError unless there is no image, or one and its class."""
    if ImageFeature.among(schema.features):
        image_and_class(schema, kind=kind)


def image_and_class(schema: ExampleSchema, *, kind: str) -> tuple[str, ImageFeature, str]:
    """Name and settings of the one image that a picture source fills, and the name of its images' classes.

    That is the label or, where images are generated, the one category among the features. Raises ParamsError for other
    features.
    """
    if not isinstance(schema.label, GeneratedLabel):
        return (*only_image(schema.features, kind=kind), schema.label.name)
    categories = list(CategoryFeature.among(schema.features))
    if len(categories) != 1:
        raise ParamsError(
            f"ingest.features: a source of kind {kind!r} gives an image and its class; for images that are generated, "
            f"expected one category beside the image, found {', '.join(categories) or 'none'}"
        )
    others = {name: feature for name, feature in schema.features.items() if name not in categories}
    if len(others) > 1:
        raise ParamsError(f"ingest.features: generated are images and their class alone, found {', '.join(others)}")
    return (*only_image(others, kind=kind), categories[0])
