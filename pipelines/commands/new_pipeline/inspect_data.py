"""Inspect data of each kind that `headrace new` takes: where it is, and what it seems to be."""

import re
from dataclasses import dataclass
from pathlib import Path

from headrace.components.errors import ParamsError
from headrace.components.guess.columns import guess_table
from headrace.components.guess.findings import Guess, Section
from headrace.components.guess.idx_files import find_pairs, guess_idx
from headrace.components.guess.image_files import find_classes, guess_images
from headrace.components.guess.sample import read_sample
from headrace.components.guess.text_file import guess_text
from headrace.components.sources.file_set import FileSet
from headrace.pipelines.fetching.fetch import sha256_of
from headrace.pipelines.fetching.file_sets import find_files


@dataclass(frozen=True)
class Data:
    """Where the data is: one of the four, and with a table the columns to predict."""

    csv: Path | None = None
    targets: tuple[str, ...] = ()
    images: Path | None = None
    idx: Path | None = None
    text: Path | None = None


@dataclass(frozen=True)
class Inspected:
    """A data set: its name, `ingest.source` but for what was guessed, the guess, and what of it was read."""

    name: str
    description: str
    source: Section
    guess: Guess
    extent: str


def inspect_data(data: Data, *, root: Path) -> Inspected:
    """Guess what the data is; raise ParamsError unless exactly one kind is given and exists.

    Raises DataError for data that nothing can be learned from. Paths below the project's `root` are relative to it.
    """
    given = {"--csv": data.csv, "--images": data.images, "--idx": data.idx, "--text": data.text}
    named = {option: path for option, path in given.items() if path is not None}
    if len(named) != 1:
        raise ParamsError(f"give one of {', '.join(given)}; found {' and '.join(named) or 'none'}")
    option, path = next(iter(named.items()))
    if (option == "--csv") != bool(data.targets):
        raise ParamsError("--csv needs --target COLUMN, the column to predict; no other kind of data does")
    is_one = option in ("--csv", "--text")
    if not (path.is_file() if is_one else path.is_dir()):
        raise ParamsError(f"{option} {path}: there is no such {'file' if is_one else 'folder'}")
    match option:
        case "--csv":
            return _inspect_table(path, tuple(dict.fromkeys(data.targets)), root)
        case "--images":
            return _inspect_images(path.resolve())
        case "--text":
            return _inspect_text(path, root)
        case _:
            return _inspect_idx(path, root)


def _inspect_table(path: Path, targets: tuple[str, ...], root: Path) -> Inspected:
    sample = read_sample(path, targets=targets)
    guess = guess_table(
        sample.table, targets=targets, is_whole=sample.is_whole, separator=sample.separator, left_out=sample.left_out
    )
    source: Section = {"kind": "delimited", "parts": [{"files": [_file(path, root)]}]}
    source |= {"separator": sample.separator} if sample.separator != "," else {}
    extent = f"in {path.name}" if sample.is_whole else f"at the beginning of {path.name}; the others were not read"
    return Inspected(path.name, f"{', '.join(targets)}, from the other columns of {path.name}", source, guess, extent)


def _inspect_images(folder: Path) -> Inspected:
    keys = find_files(FileSet(root=str(folder)))
    files = find_classes(keys, folder=folder)
    guess = guess_images(folder, files)
    parts = []
    for pattern, given_split in files.patterns.items():
        split = {"given_split": given_split} if given_split else {}
        parts.append({"files": {"root": str(folder), "pattern": pattern}, **split})
    description = f"Images of {folder.name} in {len(files.classes)} classes"
    extent = f"in {folder.name}"
    return Inspected(folder.name, description, {"kind": "images", "parts": parts}, guess, extent)


def _inspect_idx(folder: Path, root: Path) -> Inspected:
    pairs = find_pairs(folder)
    guess = guess_idx(pairs)
    parts = []
    for pair in pairs:
        split = {"given_split": pair.given_split} if pair.given_split else {}
        parts.append({**split, "images": _file(pair.images, root), "labels": _file(pair.labels, root)})
    name = folder.resolve().name
    description = f"Images of {name} in {len(guess.ingest['label']['classes'])} classes"
    return Inspected(name, description, {"kind": "idx", "parts": parts}, guess, f"in {name}")


def _inspect_text(path: Path, root: Path) -> Inspected:
    source: Section = {"kind": "text", "parts": [{"file": _file(path, root)}]}
    return Inspected(path.name, f"{path.name}, character by character", source, guess_text(path), f"in {path.name}")


def _file(path: Path, root: Path) -> Section:
    """A file of this machine as params.yaml names it, pinned: with other content it would be another data set."""
    full = path.resolve()
    url = full.relative_to(root) if full.is_relative_to(root) else full
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.name).lstrip("._-") or "data"
    return {"name": name, "url": str(url), "sha256": sha256_of(full)}
