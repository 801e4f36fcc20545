"""Columns of the rows that can't be used: where each one is, what was expected there, and what was found."""

import polars as pl

REJECTED = {
    "file": pl.String,
    "row": pl.Int64,
    "column": pl.String,
    "reason": pl.String,
    "expected": pl.String,
    "found": pl.String,
    "values": pl.String,
}
