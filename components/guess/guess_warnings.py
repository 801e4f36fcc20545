"""What may be wrong with a guess, in sentences that say what to do about it."""

from collections.abc import Mapping, Sequence

import polars as pl

from headrace.components.examples.validation import count_by_reason
from headrace.components.guess.findings import Finding, Section
from headrace.components.guess.value_formats import Written

FEW_ROWS = 200


def few(rows: int) -> list[str]:
    """Warnings about a small data set."""
    if rows >= FEW_ROWS:
        return []
    return [
        f"{rows} examples are few: metrics of the few that are held out are mostly chance, and so is a comparison with "
        "a champion; there is no threshold in `register` yet. `headrace results` measures with several seeds"
    ]


def ambiguous(written: Mapping[str, Written], ingest: Section) -> list[str]:
    """Other meanings that the numbers and dates in use could have."""
    label = ingest["label"]
    targets = {name: f"ingest.label.targets.{name}" for name in label.get("targets", ())}
    places = {name: f"ingest.features.{name}" for name in ingest["features"]}
    places |= targets or {label["name"]: "ingest.label"}
    bare = [
        f"{name!r}: some numbers have no {one.number_format.unit}, such as {one.bare!r}; all are read as the same unit"
        for name, one in written.items()
        if name in places and one.bare and one.number_format
    ]
    return bare + [
        f"{name!r} is read as {key} {one.taken}, and {one.other} fits as well; if that is meant, set "
        f"{places[name]}.{key} to it"
        for name, one in written.items()
        for key in one.settings
        if one.other and name in places
    ]


def totals_among(totals: Mapping[int, str], rejected: pl.DataFrame, *, rows: int) -> list[str]:
    """What happens to rows that seem to be totals, given by number from 0 and the reason."""
    refused = set(rejected["row"])
    return [
        f"row {row + 1} of {rows} looks like a total ({why}): "
        + (
            "ingest will reject it"
            if row + 1 in refused
            else "ingest can't distinguish it from an example, so delete it"
        )
        for row, why in totals.items()
    ]


def rejected_rows(rejected: pl.DataFrame, *, rows: int) -> list[str]:
    """Number of rows that ingest will reject, with the reasons."""
    reasons = ", ".join(f"{reason} ({count})" for reason, count in count_by_reason(rejected.lazy()).items())
    return [f"ingest will reject {rejected.height} of {rows} rows: {reasons}"] if rejected.height else []


def unusable(left_out: Sequence[Finding]) -> list[str]:
    """Advice on columns that share a name."""
    return [f"{one.name!r} is left out: {one.why}" for one in left_out if one.name]
