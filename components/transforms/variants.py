"""The transforms that there are: a new one is a module of its own, and a line here."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from headrace.components.transforms.backbone import Backbone
from headrace.components.transforms.impute import Impute
from headrace.components.transforms.min_max import MinMax
from headrace.components.transforms.min_max_elements import MinMaxElements
from headrace.components.transforms.one_hot import OneHot
from headrace.components.transforms.ordinal import Ordinal
from headrace.components.transforms.own_transform import Python
from headrace.components.transforms.polynomial import Polynomial
from headrace.components.transforms.scale_pixels import ScalePixels
from headrace.components.transforms.scaling import FittedScaling
from headrace.components.transforms.standardize import Standardize
from headrace.components.transforms.standardize_elements import StandardizeElements
from headrace.components.transforms.transform import FittedTransform, Transform
from headrace.components.transforms.vocabulary import Vocabulary

TRANSFORMS: tuple[type[Transform], ...] = (  # in the order in which messages propose them
    Standardize,
    MinMax,
    StandardizeElements,
    MinMaxElements,
    ScalePixels,
    Ordinal,
    OneHot,
    Impute,
    Polynomial,
    Vocabulary,
    Backbone,
    Python,
)
_SCALINGS = tuple(one for one in TRANSFORMS if issubclass(one.fitted, FittedScaling))

if TYPE_CHECKING:
    AnyTransform = Transform
    AnyFitted = FittedTransform
    LabelTransform = Transform
    FittedLabelTransform = FittedScaling
else:  # what pydantic reads: the class is chosen by `kind`
    _KIND = Field(discriminator="kind")
    AnyTransform = Annotated[Union[TRANSFORMS], _KIND]  # noqa: UP007 - of a tuple
    AnyFitted = Annotated[Union[tuple(one.fitted for one in TRANSFORMS)], _KIND]  # noqa: UP007
    LabelTransform = Annotated[Union[_SCALINGS], _KIND]  # noqa: UP007
    FittedLabelTransform = Annotated[Union[tuple(one.fitted for one in _SCALINGS)], _KIND]  # noqa: UP007
