"""What a transform is fitted to: what is known of the training values of one column."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from headrace.components.errors import DataError
from headrace.components.own_code.importable_code import NO_CODE, OwnCode
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.features import Feature

if TYPE_CHECKING:
    from headrace.components.statistics.summary import NumberSummary, Summary

Value = TypeVar("Value")


@dataclass(frozen=True)
class ColumnStatistics:
    """The summary that a transform requests by `statistics`, of the values that the transforms before it give."""

    name: str
    feature: Feature
    summary: "Summary | None" = None
    median: float | None = None  # where the summary has a sketch
    backbone_weights: bytes = b""
    code: OwnCode = NO_CODE

    @property
    def image(self) -> ImageFeature:
        """The feature as an image. Raises TypeError if it is none, which `check` would have refused."""
        return ImageFeature.require(self.feature)

    @property
    def numbers(self) -> "NumberSummary":
        """The summary as one of numbers. Raises TypeError if it is none, which `check` would have refused."""
        from headrace.components.statistics.summary import NumberSummary

        if not isinstance(self.summary, NumberSummary):
            raise TypeError(f"{self.name}: expected numbers, found a {self.feature.type}")
        return self.summary

    @property
    def places(self) -> "list[ColumnStatistics]":
        """Each place of lists as a column of numbers. Raises TypeError if there are no lists, which `check` refuses."""
        from headrace.components.statistics.summary import ElementSummary

        if not isinstance(self.summary, ElementSummary):
            raise TypeError(f"{self.name}: expected lists of numbers, found a {self.feature.type}")
        return [
            replace(self, name=f"{self.name}[{place}]", summary=one) for place, one in enumerate(self.summary.elements)
        ]

    def counts(self) -> Mapping[Any, int]:
        """How often each value occurs; raise DataError if there is none, or too many different ones."""
        from headrace.components.statistics.summary import CategorySummary

        if not isinstance(self.summary, CategorySummary):
            raise TypeError(f"{self.name}: expected counts, found a {self.feature.type}")
        if self.summary.counts is None:
            raise DataError(
                f"{self.name}: more than {self.summary.limit:,} different values in the training examples; take it out "
                "of normalize.transforms, or group its values before ingest"
            )
        return self.known(self.summary.counts or None)

    def known(self, value: Value | None) -> Value:
        """Return the value; raise DataError if there is none, as no training example has one."""
        if value is None:
            raise DataError(
                f"{self.name}: missing in every training example; take it out of normalize.transforms or fix the data"
            )
        return value
