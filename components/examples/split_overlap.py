"""Content that is in more than one split: what a model was trained on can't test it.

Rows of one content can be in two splits where something else than their content decides: a key, a group, a time, or
the source's own test set.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from headrace.components.examples.splits import assign_split
from headrace.components.files.tables import scan_files
from headrace.components.mixing import Words
from headrace.components.schema.split_settings import Split


@dataclass(frozen=True)
class Overlap:
    """Digests of content, each sorted: what held-out rows may not have."""

    training: Words
    test: Words

    @classmethod
    def none(cls) -> Self:
        """An overlap of nothing."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.uint64))

    def covers(self, table: pl.DataFrame, split: str) -> pl.Series:
        """For each row of a split, whether its content is in training too or, of a validation row, in testing."""
        if not len(self.training) + len(self.test):
            return pl.repeat(False, table.height, eager=True)
        words = table[content_column(table.columns)].to_numpy()
        found = np.isin(words, self.training)
        if split == "validation":
            found |= np.isin(words, self.test)
        return pl.Series(found)


def content_column(columns: Collection[str]) -> str:
    """Return the column that is a digest of a row's content: without a key, the id itself."""
    return "content_id" if "content_id" in columns else "example_id"


def can_overlap(columns: Collection[str]) -> bool:
    """Whether rows of one content can be in two splits, in a table of `columns`."""
    return any(name in columns for name in ("content_id", "group_id", "time", "given_split"))


def held_out_content(shard: Path | bytes, *, split: Split) -> tuple[Words, Words]:
    """Return the content of a shard's validation rows and of its test rows."""
    table = _contents(shard, split)
    validation, test = (table.filter(split=name)["content"].to_numpy() for name in ("validation", "test"))
    return validation, test


def training_content_among(shard: Path | bytes, *, split: Split, held_out: Words) -> Words:
    """Held-out contents that a shard's training rows have too."""
    training = _contents(shard, split).filter(split="train")["content"].to_numpy()
    return np.intersect1d(training, held_out)


def _contents(shard: Path | bytes, split: Split) -> pl.DataFrame:
    table = scan_files(shard)
    columns = table.collect_schema().names()
    asked = table.select(content=content_column(columns), split=assign_split(split, columns=columns))
    return asked.collect()
