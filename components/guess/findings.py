"""What a data set seems to be: a piece of params.yaml, and why it says so."""

from dataclasses import dataclass, field
from typing import Any

import polars as pl

Section = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What one column or piece of the data was taken for, and why; `is_used` is False where it was left out."""

    name: str
    taken_for: str
    why: str
    is_used: bool = True


@dataclass(frozen=True)
class Guess:
    """The `ingest` section of a pipeline, of its source only `source`, and what was found on the way.

    `rows` counts the examples that were seen. `most_frequent` is the share of the most frequent class or character,
    None where the label is a number. `warnings` say what may be wrong, and which key changes it. `table` has all rows
    of a small table, as text, null where a value is missing.
    """

    ingest: Section
    findings: tuple[Finding, ...]
    rows: int
    most_frequent: float | None = None
    source: Section = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    table: pl.DataFrame | None = None
