"""The full training state on disk: whole and verified, or not there at all.

A checkpoint is a folder: `weights.npz`, `best_weights.npz`, `optimizer.npz`, `state.json`, and `manifest.json`, written
last, with the SHA-256 of each. No pickle. A folder without a manifest that fits does not count as a checkpoint.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.settings import Settings

MANIFEST = "manifest.json"
Arrays = Sequence[NDArray[Any]]


class TrainingState(Settings):
    """Where training stands, besides the weights: `epoch` epochs and `step` steps are done."""

    epoch: int
    step: int
    seed: int
    best_epoch: int
    best_loss: float | None
    history: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: arrays in the order of Keras's `model.weights` and `optimizer.variables`."""

    state: TrainingState
    weights: Arrays
    best_weights: Arrays
    optimizer: Arrays


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Return `folder` after the checkpoint was written to a temporary name beside it and renamed."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _save_arrays(temporary / "weights.npz", checkpoint.weights)
        _save_arrays(temporary / "best_weights.npz", checkpoint.best_weights)
        _save_arrays(temporary / "optimizer.npz", checkpoint.optimizer)
        (temporary / "state.json").write_text(checkpoint.state.model_dump_json(indent=1) + "\n", encoding="utf-8")
        digests = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
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
        damaged = [name for name, digest in digests.items() if _sha256(folder / name) != digest]
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"no whole checkpoint in {folder}: {error}") from error
    if damaged:
        raise ValueError(f"damaged checkpoint in {folder}: {', '.join(damaged)}")
    return Checkpoint(
        state=TrainingState.model_validate_json((folder / "state.json").read_text(encoding="utf-8")),
        weights=_load_arrays(folder / "weights.npz"),
        best_weights=_load_arrays(folder / "best_weights.npz"),
        optimizer=_load_arrays(folder / "optimizer.npz"),
    )


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest whole checkpoint below `folder`, None if there is none, and what was passed over and why."""
    passed_over: list[str] = []
    candidates = sorted(folder.glob("epoch-*")) if folder.is_dir() else []
    for candidate in reversed(candidates):
        try:
            return load(candidate), passed_over
        except ValueError as error:
            passed_over.append(str(error))
    return None, passed_over


def keep_last(folder: Path, *, count: int) -> None:
    """Remove all but the newest `count` checkpoints below `folder`."""
    for old in sorted(folder.glob("epoch-*"))[:-count]:
        shutil.rmtree(old, ignore_errors=True)


def epoch_folder(folder: Path, epoch: int) -> Path:
    """Return where the checkpoint after `epoch` epochs goes; names sort by epoch."""
    return folder / f"epoch-{epoch:06d}"


def _save_arrays(path: Path, arrays: Arrays) -> None:
    np.savez(path, allow_pickle=False, **{f"{place:05d}": array for place, array in enumerate(arrays)})


def _load_arrays(path: Path) -> list[NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in sorted(arrays.files)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
