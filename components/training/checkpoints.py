"""The full training state on disk: whole and verified, or not there at all.

A checkpoint is a folder: `weights.npz`, `best_weights.npz`, `optimizer.npz`, `metrics.npz`, `random.npz`,
`other_optimizers.npz`, `state.json`, and `manifest.json`, written last, with the SHA-256 of each. No pickle. A folder
without a manifest that fits does not count as a checkpoint. Each stands on its own: files shared between checkpoints
would be damaged together.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.components.files.digests import file_digest
from headrace.components.training.state import TrainingState

MANIFEST = "manifest.json"
ARRAYS = ("weights", "best_weights", "optimizer", "metrics")
LATER_ARRAYS = ("random", "other_optimizers")  # which older checkpoints don't have
Arrays = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: arrays in the order of Keras's `model.weights` and `optimizer.variables`.

    Where the optimizer averages the weights, `weights` are the averages, and the trained ones are in their place.
    `metrics` are the running totals of an epoch that is not done yet; there are none between two epochs. `random` are
    the states of seed generators. `other_optimizers` are the variables of optimizers that the model owns besides.
    """

    state: TrainingState
    weights: Arrays
    best_weights: Arrays
    optimizer: Arrays
    metrics: Arrays = ()
    random: Arrays = ()
    other_optimizers: Arrays = ()


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Return `folder` after the checkpoint was written to a temporary name beside it and renamed."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for name in (*ARRAYS, *LATER_ARRAYS):
            _save_arrays(temporary / f"{name}.npz", getattr(checkpoint, name))
        (temporary / "state.json").write_text(checkpoint.state.model_dump_json(indent=1) + "\n", encoding="utf-8")
        digests = {path.name: file_digest(path) for path in sorted(temporary.iterdir())}
        (temporary / MANIFEST).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def load(folder: Path) -> Checkpoint:
    """Return the checkpoint in `folder`; raise ValueError, saying what is wrong, if a file is missing or damaged."""
    try:
        digests = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        damaged = [name for name, digest in digests.items() if file_digest(folder / name) != digest]
        later = [name for name in LATER_ARRAYS if f"{name}.npz" in digests]
        missing = {"state.json", *(f"{name}.npz" for name in ARRAYS)} - digests.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"no whole checkpoint in {folder}: {error}") from error
    if damaged or missing:
        raise ValueError(f"damaged checkpoint in {folder}: {', '.join([*damaged, *sorted(missing)])}")
    return Checkpoint(
        state=TrainingState.model_validate_json((folder / "state.json").read_text(encoding="utf-8")),
        **{name: _load_arrays(folder / f"{name}.npz") for name in (*ARRAYS, *later)},
    )


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest whole checkpoint below `folder`, None if there is none, and what was passed over and why."""
    passed_over: list[str] = []
    candidates = sorted(folder.glob("step-*")) if folder.is_dir() else []
    for candidate in reversed(candidates):
        try:
            return load(candidate), passed_over
        except ValueError as error:
            passed_over.append(str(error))
    return None, passed_over


def keep(folder: Path, *, last: int, best_step: int, every_hours: float | None = None) -> None:
    """Remove all checkpoints below `folder` but the `last` newest and the one after `best_step` steps.

    Of each `every_hours` of training after the first, the first checkpoint is kept too.
    """
    found = sorted(folder.glob("step-*"))
    kept = {step_folder(folder, best_step), *(_first_of_each(found, hours=every_hours) if every_hours else ())}
    for old in found[:-last]:
        if old not in kept:
            shutil.rmtree(old, ignore_errors=True)
    for half_written in folder.glob(".step-*"):  # by a worker that was killed
        shutil.rmtree(half_written, ignore_errors=True)


def _first_of_each(found: Sequence[Path], *, hours: float) -> Iterator[Path]:
    """Yield the first checkpoint of each period of so many hours of training, but for the first period."""
    period = 0
    for folder in found:
        try:
            state = TrainingState.model_validate_json((folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):  # damaged
            continue
        if (its_period := int(state.seconds // (hours * 3600))) > period:
            period = its_period
            yield folder


def step_folder(folder: Path, step: int) -> Path:
    """Folder of the checkpoint after `step` steps; names sort by step."""
    return folder / f"step-{step:012d}"


def _save_arrays(path: Path, arrays: Arrays) -> None:
    np.savez(path, allow_pickle=False, **{f"{place:05d}": array for place, array in enumerate(arrays)})


def _load_arrays(path: Path) -> list[NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in sorted(arrays.files)]
