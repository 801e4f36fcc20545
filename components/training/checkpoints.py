"""The full training state on disk: whole and verified, or not there at all.

A checkpoint is a folder: `weights.npz`, `best_weights.npz`, `optimizer.npz`, `metrics.npz`, `random.npz`,
`other_optimizers.npz`, `state.json`, and `manifest.json`, written last, with the SHA-256 of each. No pickle. A folder
without a manifest that fits does not count as a checkpoint. Each stands on its own: files shared between checkpoints
would be damaged together. Only where the best weights are the present ones there is no `best_weights.npz`, and the
manifest gives it the digest of `weights.npz`.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from headrace.components.files.digests import file_digest
from headrace.components.training.state import TrainingState

MANIFEST = "manifest.json"
ARRAYS = ("weights", "best_weights", "optimizer", "metrics")
LATER_ARRAYS = ("random", "other_optimizers")  # which older checkpoints don't have
WEIGHTS, BEST_WEIGHTS = "weights.npz", "best_weights.npz"
Arrays = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: arrays in the order of Keras's `model.weights` and `optimizer.variables`.

    Where the optimizer averages the weights, `weights` are the averages, and the trained ones are in their place.
    `metrics` are each worker's running totals of an epoch that is not done yet; there are none between two epochs.
    `random` are the states of seed generators. `other_optimizers` are the variables of optimizers that the model owns
    besides.
    """

    state: TrainingState
    weights: Arrays
    best_weights: Arrays
    optimizer: Arrays
    metrics: Arrays = ()
    random: Arrays = ()
    other_optimizers: Arrays = ()

    def in_memory(self) -> "Checkpoint":
        """The checkpoint with all arrays in memory, whatever becomes of its files."""
        arrays: dict[str, Arrays] = {name: list(getattr(self, name)) for name in (*ARRAYS, *LATER_ARRAYS)}
        if self.best_weights is self.weights:
            arrays["best_weights"] = arrays["weights"]
        return Checkpoint(self.state, **arrays)


class Begun:
    """A checkpoint whose arrays are in files, under a temporary name beside its folder: it does not count yet."""

    def __init__(self, folder: Path, checkpoint: Checkpoint) -> None:
        """Write the arrays, but for best weights that are stored or the present ones; raise OSError without a trace."""
        self._folder, self._state = folder, checkpoint.state
        self._best_is_present = checkpoint.best_weights is checkpoint.weights
        self._temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
        self._files: list[IO[bytes]] = []  # closed by `finish`: a file system of the network waits for its server then
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        try:
            for name in (*ARRAYS, *LATER_ARRAYS):
                arrays = getattr(checkpoint, name)
                if name != "best_weights" or not (self._best_is_present or isinstance(arrays, StoredArrays)):
                    self._write(f"{name}.npz", arrays)
        except BaseException:
            self.discard()
            raise

    def finish(self, best_weights: "StoredArrays | None" = None) -> Path:
        """Make it count, with best weights that are stored; return its folder. Raises OSError."""
        self._close()
        if best_weights is not None:
            best_weights.copy(self._temporary / BEST_WEIGHTS)
        state = self._temporary / "state.json"
        state.write_text(self._state.model_dump_json(indent=1) + "\n", encoding="utf-8")
        digests = {path.name: file_digest(path) for path in sorted(self._temporary.iterdir())}
        if self._best_is_present:
            digests[BEST_WEIGHTS] = digests[WEIGHTS]
        (self._temporary / MANIFEST).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._temporary.rename(self._folder)
        return self._folder

    @property
    def is_finished(self) -> bool:
        """Whether it counts."""
        return not self._temporary.exists()

    def weights(self) -> Arrays:
        """The weights, in memory, of a checkpoint that could not be finished."""
        return list(StoredArrays(self._temporary / WEIGHTS))

    def discard(self) -> None:
        """Remove it, unless it is finished."""
        with suppress(OSError):
            self._close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _write(self, name: str, arrays: Arrays) -> None:
        file = (self._temporary / name).open("wb", buffering=0)  # no room is noticed at once
        self._files.append(file)
        np.savez(file, allow_pickle=False, **{f"{place:05d}": array for place, array in enumerate(arrays)})

    def _close(self) -> None:
        while self._files:
            self._files.pop().close()


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Return `folder` after the checkpoint was written to a temporary name beside it and renamed."""
    begun, best_weights = Begun(folder, checkpoint), checkpoint.best_weights
    try:
        if isinstance(best_weights, StoredArrays) and best_weights is not checkpoint.weights:
            return begun.finish(best_weights)
        return begun.finish()
    finally:
        begun.discard()


def load(folder: Path) -> Checkpoint:
    """Return the checkpoint in `folder`; raise ValueError, saying what is wrong, if a file is missing or damaged."""
    return stored(folder).in_memory()


def stored(folder: Path) -> Checkpoint:
    """Return the checkpoint in `folder`, whose arrays are read when they are asked for, each time; raise as `load`."""
    try:
        digests = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {name: WEIGHTS if _is_weights(name, digests) else name for name in digests}
        damaged = [name for name in set(files.values()) if file_digest(folder / name) != digests[name]]
        later = [name for name in LATER_ARRAYS if f"{name}.npz" in digests]
        missing = {"state.json", *(f"{name}.npz" for name in ARRAYS)} - digests.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"no whole checkpoint in {folder}: {error}") from error
    if damaged or missing:
        raise ValueError(f"damaged checkpoint in {folder}: {', '.join(sorted([*damaged, *missing]))}")
    state = TrainingState.model_validate_json((folder / "state.json").read_text(encoding="utf-8"))
    arrays: dict[str, Arrays] = {name: StoredArrays(folder / files[f"{name}.npz"]) for name in (*ARRAYS, *later)}
    if files[BEST_WEIGHTS] == WEIGHTS:
        arrays["best_weights"] = arrays["weights"]
    return Checkpoint(state=state, **arrays)


def _is_weights(name: str, digests: dict[str, str]) -> bool:
    return name == BEST_WEIGHTS and digests[name] == digests.get(WEIGHTS)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest whole checkpoint below `folder`, None if there is none, and what was passed over and why.

    Its arrays are read when they are asked for, as those of `stored`.
    """
    passed_over: list[str] = []
    candidates = sorted(folder.glob("step-*")) if folder.is_dir() else []
    for candidate in reversed(candidates):
        try:
            return stored(candidate), passed_over
        except ValueError as error:
            passed_over.append(str(error))
    return None, passed_over


def best_weights(folder: Path, epoch: int) -> "StoredArrays":
    """Return the weights after `epoch` from the newest checkpoint below `folder` that has them whole, as its best ones.

    They are read when they are asked for. Raises FileNotFoundError where there is none.
    """
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        with suppress(OSError, ValueError, KeyError):  # damaged
            state = TrainingState.model_validate_json((candidate / "state.json").read_text(encoding="utf-8"))
            digests = json.loads((candidate / MANIFEST).read_text(encoding="utf-8"))
            file = candidate / (WEIGHTS if _is_weights(BEST_WEIGHTS, digests) else BEST_WEIGHTS)
            if state.best_epoch == epoch and file_digest(file) == digests[BEST_WEIGHTS]:
                return StoredArrays(file)
    raise FileNotFoundError(f"no checkpoint in {folder} has the weights of epoch {epoch}, the best, whole")


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


class StoredArrays(Sequence[NDArray[Any]]):
    """Arrays of a file, of which only one is in memory at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with np.load(path, allow_pickle=False) as arrays:
            self._names = sorted(arrays.files)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, place: Any) -> Any:
        with np.load(self._path, allow_pickle=False) as arrays:
            return (
                [arrays[name] for name in self._names[place]]
                if isinstance(place, slice)
                else arrays[self._names[place]]
            )

    def __iter__(self) -> Iterator[NDArray[Any]]:
        with np.load(self._path, allow_pickle=False) as arrays:
            for name in self._names:
                yield arrays[name]

    def copy(self, path: Path) -> None:
        """Copy the file."""
        shutil.copyfile(self._path, path)
