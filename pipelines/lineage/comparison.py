"""A model that was made again beside the one that is registered: equal, equal to 1e-6, or what differs since where."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from headrace.components.files.tables import read_file
from headrace.components.schema.settings import Settings
from headrace.components.serving_model.weights_difference import largest_difference
from headrace.pipelines.artifacts.metrics_record import read_metrics
from headrace.pipelines.artifacts.provenance_record import Provenance, counted
from headrace.pipelines.artifacts.run_record import read_run
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.dvc_records import locked_stages, outputs
from headrace.pipelines.tracking.registry import Version

TOLERANCE = 1e-6

Verdict = Literal["equal", "close", "differs", "unknown"]


class Compared(Settings):
    """One artifact: which stage wrote it, and how it compares."""

    stage: str
    what: str
    verdict: Verdict
    found: str


class Comparison(Settings):
    """All artifacts, in the order of the stages."""

    parts: tuple[Compared, ...]

    @property
    def verdict(self) -> Verdict:
        """That of the worst part; what can't be known decides nothing."""
        verdicts = {part.verdict for part in self.parts}
        return "differs" if "differs" in verdicts else "close" if "close" in verdicts else "equal"

    def __str__(self) -> str:
        if self.verdict == "equal":
            return "equal: the same data, weights, predictions and metrics, bit for bit"
        if self.verdict == "close":
            close = [f"{part.what} {part.found}" for part in self.parts if part.verdict == "close"]
            return f"equal to {TOLERANCE:g}: {'; '.join(close)}"
        differing = [part for part in self.parts if part.verdict == "differs"]
        found = "; ".join(f"{part.what}: {part.found}" for part in differing)
        return f"differs since {differing[0].stage}: {found}"


def compare_stages(
    made: PipelinePaths,
    provenance: Provenance,
    *,
    version: Version,
    raw: Mapping[str, str],
    model: Path,
    outcomes: Path | None,
) -> Comparison:
    """Compare what was made with what the record and the version say.

    `raw` has the SHA-256 of each raw file that was read, `model` is the registered file, and `outcomes` the original
    predictions; None where they are nowhere any more.
    """
    expected = {file.name: file.sha256 for file in provenance.raw_files}
    differing = [name for name in {**expected, **raw} if expected.get(name) != raw.get(name)]
    parts = [_part("ingest", "raw files", not differing, ", ".join(differing) or counted(len(raw), "file"))]
    before, now = outputs(provenance.locked), outputs(locked_stages(made.root, made.pipeline))
    for stage, name in (("ingest", "examples"), ("normalize", "normalized"), ("split", "splits")):
        path = str(getattr(made, name).relative_to(made.root))
        known = before.get(path)
        if known is None:
            parts.append(Compared(stage=stage, what=name, verdict="unknown", found="not in the record's dvc.lock"))
        else:
            found = f"MD5 {known[:12]}" + ("" if known == now.get(path) else f", now {now.get(path, 'none')[:12]}")
            parts.append(_part(stage, name, known == now.get(path), found))
    parts += [_weights(made, version, model), _predictions(made, version, outcomes), _metrics(made, version)]
    return Comparison(parts=tuple(parts))


def _part(stage: str, what: str, is_equal: bool, found: str) -> Compared:
    return Compared(stage=stage, what=what, verdict="equal" if is_equal else "differs", found=found)


def _weights(made: PipelinePaths, version: Version, model: Path) -> Compared:
    digest = read_run(made).weights_digest
    if digest == version.tags.get("weights_digest"):
        return _part("train", "weights", True, f"bit for bit, {digest[:12]}")
    difference = largest_difference(made.model, model)
    if difference is None:
        return _part("train", "weights", False, "other arrays")
    return _measured("train", "weights", difference)


def _predictions(made: PipelinePaths, version: Version, original: Path | None) -> Compared:
    if read_metrics(made).outcomes_sha256 == version.tags.get("outcomes_sha256"):
        return _part("evaluate", "predictions", True, "bit for bit")
    if original is None:
        gone = "the original ones are neither in DVC's cache nor in its remote"
        return Compared(stage="evaluate", what="predictions", verdict="unknown", found=gone)
    ours, theirs = read_file(made.outcomes), read_file(original)
    if ours.columns != theirs.columns or not ours["example_id"].equals(theirs["example_id"]):
        return _part("evaluate", "predictions", False, "of other rows or columns")
    changed = [name for name in ours.columns if not ours[name].dtype.is_float() and not ours[name].equals(theirs[name])]
    if changed:
        rows = sum(int((ours[name] != theirs[name]).fill_null(value=False).sum()) for name in changed)
        return _part("evaluate", "predictions", False, f"{', '.join(changed)} of {rows} of {ours.height} rows")
    floats = [name for name in ours.columns if ours[name].dtype.is_float()]
    difference = max((_largest(ours[name], theirs[name]) for name in floats), default=0.0)
    return _measured("evaluate", "predictions", difference)


def _largest(ours: pl.Series, theirs: pl.Series) -> float:
    left, right = ours.to_numpy(), theirs.to_numpy()
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    return 0.0 if same.all() else float(np.abs(left - right)[~same].max())


def _metrics(made: PipelinePaths, version: Version) -> Compared:
    found, known = read_metrics(made).metrics, version.metrics
    if known.keys() != found.keys():
        return _part("evaluate", "metrics", False, f"{', '.join(sorted(known.keys() ^ found.keys()))} are in one alone")
    apart = {name: abs(found[name] - known[name]) for name in known if not _is_same(found[name], known[name])}
    if not apart:
        return _part("evaluate", "metrics", True, f"{len(known)} metrics")
    worst = max(apart, key=lambda name: apart[name] if not math.isnan(apart[name]) else math.inf)
    measured = _measured("evaluate", "metrics", apart[worst])
    return measured.model_copy(update={"found": f"{worst} {measured.found}, {known[worst]:.6g} to {found[worst]:.6g}"})


def _is_same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _measured(stage: str, what: str, difference: float) -> Compared:
    verdict: Verdict = "equal" if difference == 0 else "close" if difference <= TOLERANCE else "differs"
    return Compared(stage=stage, what=what, verdict=verdict, found=f"largest difference {difference:.2g}")
