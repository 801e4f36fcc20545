"""Ordinal: a category as the number of its rank."""

from typing import TYPE_CHECKING, Literal

from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.ranks import Categories, FittedRanks
from headrace.components.transforms.transform import Statistics, Transform

if TYPE_CHECKING:
    from headrace.components.statistics.summary import Summary


class FittedOrdinal(FittedRanks):
    """1, 2, ... by the place in `categories`; 0 for any other category and for a missing one."""

    kind: Literal["ordinal"] = "ordinal"

    def summary_after(self, summary: "Summary | None") -> "Summary | None":
        """Summary of the ranks, from the counts of the categories."""
        from headrace.components.statistics.summary import CategorySummary, number_summary

        if not isinstance(summary, CategorySummary) or summary.counts is None:
            return None
        counts = summary.counts
        ranks = {float(rank): counts.get(category, 0) for rank, category in enumerate(self.categories, start=1)}
        others = sum(counts.values()) - sum(ranks.values())
        return number_summary({0.0: summary.missing + others, **ranks})


class Ordinal(Transform):
    """The category's rank among those seen in training or, if given, in `categories` (1, 2, ...); 0 for any other."""

    kind: Literal["ordinal"] = "ordinal"
    categories: Categories | None = None
    """The categories in the order of their ranks; `null` for those seen in training, sorted."""

    takes = ("category",)
    gives = "number"
    fitted = FittedOrdinal

    @property
    def statistics(self) -> Statistics:
        """Categories."""
        return "categories"

    def fit(self, column: ColumnStatistics) -> FittedOrdinal:
        """Take the categories that are given, or those seen in training, sorted."""
        return FittedOrdinal(categories=self.categories or tuple(sorted(column.counts())))
