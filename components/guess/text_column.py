"""A text as what to learn from, where a table has one."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from headrace.components.guess.findings import Finding, Section

TEXT = "text: "  # begins what is said of a column of texts that are no categories
_FEW_FEATURES = 2  # beside which prose predicts most
_PROSE_WORDS = 8
_LONGEST = 200  # words or characters: a recurrent layer takes them one after the other


@dataclass(frozen=True)
class Choice:
    """The features that are learned from, what was found of each column, and what to know of it."""

    features: dict[str, Section]
    findings: list[Finding]
    warnings: list[str] = field(default_factory=list)


def with_text(table: pl.DataFrame, target: str, features: dict[str, Section], findings: list[Finding]) -> Choice:
    """Return a text to learn from instead of other columns, if it is all there is, or prose beside few others."""
    texts = {one.name: _words(table[one.name]) for one in findings if one.why.startswith(TEXT)}
    if not texts:
        return Choice(features, findings)
    name = max(texts, key=lambda one: texts[one])
    if features and (len(features) > _FEW_FEATURES or texts[name] < _PROSE_WORDS):
        return Choice(features, findings)
    unit = "word" if texts[name] > 1 else "character"
    present = table[name].drop_nulls()
    counts = present.str.split(" ").list.len() if unit == "word" else present.str.len_chars()
    length = min(_LONGEST, max(2, math.ceil(counts.quantile(0.95) or 2)))
    text: Section = {"type": "text", "unit": unit, "length": length}
    why = f"{len(present)} texts of {texts[name]:.3g} words at the median, of which the first {length} {unit}s are read"
    others = "a text is the only input of its model"
    found = [
        Finding(name, "text", why)
        if one.name == name
        else replace(one, taken_for="left out", why=f"{others}; it was {one.taken_for}: {one.why}", is_used=False)
        if one.name in features
        else one
        for one in findings
    ]
    warnings = []
    if features:
        warnings.append(
            f"{target!r} is learned from the text {name!r} alone, because {others}; to learn from "
            f"{', '.join(map(repr, features))} instead, take {name!r} out of the file and run `headrace new` again"
        )
    return Choice({name: text}, found, warnings)


def _words(texts: pl.Series) -> float:
    """How many words a text has, at the median."""
    counts = texts.drop_nulls().str.split(" ").list.len().to_numpy()
    return float(np.median(counts)) if len(counts) else 0.0
