"""Versions of what each stage computes: the part of a result's identity that code decides.

A version is raised where the same data, settings and packages give another output than before. The golden outputs in
tests/golden show when that is so. A comment, a faster loop or a new file raises nothing.
"""

from collections.abc import Collection, Mapping
from functools import cache

# What each version of a stage computes otherwise than the one before, oldest first.
HISTORY: Mapping[str, tuple[str, ...]] = {
    "ingest": (
        "first version",
        "reads INT96 times, decimals of any scale and %f of date_format, which were wrong or refused",
    ),
    "normalize": ("first version",),
    "split": ("first version",),
    "train": ("first version", "gradients of embeddings are applied as plain Keras applies them"),
    "evaluate": (
        "first version",
        "more metrics of classes, intervals, and an outcome for each row",
    ),
    "register": ("first version", "promotes by evidence on the same rows"),
}
NUMERICS: Mapping[str, int] = {stage: len(versions) for stage, versions in HISTORY.items()}
# Versions that changed the output of models with this kind of layer alone. A stage runs again for all models even so.
_ONLY_WITH_LAYER: Mapping[tuple[str, int], str] = {("train", 2): "embedding"}
_ONLY_ADDED = frozenset({("evaluate", 2)})  # versions that added to an output, and changed nothing that was there

_TABLES = ("numpy", "polars", "pyarrow")
_MODELS = ("keras", "numpy", "tensorflow")
# Packages whose version may decide an output. Images are decoded by Pillow, a backbone of `normalize` by TensorFlow.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "ingest": (*_TABLES, "pillow"),
    "normalize": (*_TABLES, "pillow", "keras", "tensorflow"),
    "split": _TABLES,
    "train": (*_MODELS, "pillow"),
    "evaluate": (*_MODELS, "pillow", "polars"),
    "register": (),
}


def has_changed(stage: str, since: int, *, layers: Collection[str]) -> bool:
    """Whether a stage gives another output than its version `since` did, for a model with these kinds of layers."""
    later = [(stage, one) for one in range(since + 1, NUMERICS[stage] + 1)]
    return since > NUMERICS[stage] or any(
        one not in _ONLY_ADDED and _ONLY_WITH_LAYER.get(one) in (None, *layers) for one in later
    )


@cache
def mixing_digest() -> str:
    """Digest of the draws and batch orders of 64 made-up examples, 12 hexadecimal digits.

    They rest on a handful of constants, and a changed one is a changed result that no version would show.
    """
    import hashlib

    import numpy as np

    from headrace.components.mixing import mix
    from headrace.components.training.batches import Windows, epoch_order

    orders = [epoch_order(Windows(64, 8, window), seed=1, epoch=epoch) for window in (None, 16) for epoch in range(2)]
    made = (mix(np.arange(64, dtype=np.uint64), 1), *orders)
    return hashlib.sha256(b"".join(one.astype("<u8").tobytes() for one in made)).hexdigest()[:12]
