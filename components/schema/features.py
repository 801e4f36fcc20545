"""The types of features that there are: a new one is a file of its own in `feature_types`, and a line here."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.feature_type import FeatureType
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.feature_types.vector_feature import VectorFeature

FEATURE_TYPES: tuple[type[FeatureType], ...] = (
    ImageFeature,
    NumberFeature,
    CategoryFeature,
    TextFeature,
    VectorFeature,
)

if TYPE_CHECKING:
    Feature = FeatureType
else:  # what pydantic reads: the class is chosen by `type`
    Feature = Annotated[Union[FEATURE_TYPES], Field(discriminator="type")]  # noqa: UP007 - of a tuple
