"""How a data set is split: shares that leave enough for each, and a seed by which no split lacks what it needs."""

import polars as pl

from headrace.components.examples.splits import assign_split
from headrace.components.examples.table import example_table
from headrace.components.examples.validation import check_part
from headrace.components.guess.findings import Guess, Section
from headrace.components.guess.guess_warnings import FEW_ROWS
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.split_settings import Split
from headrace.components.sources.raw_part import RawPart

SEED = 1
_SEEDS = range(SEED, SEED + 1000)  # of 20 rows nearly one seed in two will do
_MANY_ROWS = 10_000


def guess_split(guess: Guess, *, given_test: bool) -> Section:
    """Return the `split` section; `given_test` says that the source has a test set of its own.

    Of a small table, the seed is the first by which both held-out splits have half of their share at least, and every
    class is among the training rows. No model is looked at, so the choice favours none.
    """
    test_share = 0.1 if guess.rows >= _MANY_ROWS else 0.2
    split: Section = {"seed": SEED, "validation_fraction": _validation_share(guess.rows)}
    split |= {} if given_test else {"test_fraction": test_share}
    if guess.table is None or given_test:
        return split
    schema = {name: one for name, one in guess.ingest.items() if name in ExampleSchema.model_fields}
    examples = _examples(guess.table, ExampleSchema.model_validate(schema))
    classes = examples[guess.ingest["label"]["name"]] if guess.most_frequent is not None else None
    suiting = (seed for seed in _SEEDS if _suits(examples, Split.model_validate(split | {"seed": seed}), classes))
    return split | {"seed": next(suiting, SEED)}


def _validation_share(rows: int) -> float:
    if rows >= _MANY_ROWS:
        return 0.1
    return 0.2 if rows < FEW_ROWS else 0.15


def _examples(table: pl.DataFrame, schema: ExampleSchema) -> pl.DataFrame:
    part = RawPart(table, dict.fromkeys(table.columns, "the table"))
    return example_table(check_part(part, schema), schema)


def _suits(examples: pl.DataFrame, split: Split, classes: pl.Series | None) -> bool:
    assigned = examples.select(assign_split(split, columns=examples.columns)).to_series()
    shares = {"validation": split.validation_fraction, "test": split.test_fraction}
    if any((assigned == name).sum() < max(1.0, share * examples.height / 2) for name, share in shares.items()):
        return False
    return classes is None or classes.filter(assigned == "train").n_unique() == classes.n_unique()
