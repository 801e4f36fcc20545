"""Sorted runs of examples on disk, a folder for each part of the source; what did not change is not read again."""

import hashlib
import shutil
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import polars as pl
import structlog
from pydantic import Field

from headrace.components.examples.example_blocks import Prepared, prepare
from headrace.components.examples.sorted_runs import RANGES
from headrace.components.files.atomic import replace_file
from headrace.components.files.tables import scan_files
from headrace.components.mapping import Map, map_to_files
from headrace.components.mixing import Words
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.settings import Settings
from headrace.components.sources.raw_part import RowError
from headrace.components.sources.rejected_rows import REJECTED
from headrace.components.sources.source import Block, SourcePart
from headrace.pipelines.fetching.fetch import sha256_of

_FORMAT = 1  # of a run; another number makes all of them again
_SUMMARY = "part.json"

log = structlog.get_logger()


class PartSummary(Settings):
    """How many rows a part had, how many of them were rejected, and of the others how many are in each range of ids."""

    rows_read: int
    rows_rejected: int
    counts: tuple[int, ...]
    other_files: dict[str, int] = Field(default_factory=dict)  # of an archive of images, by suffix


class Runs:
    """The runs of all parts of the source, in order."""

    def __init__(self, folders: Sequence[Path], schema: ExampleSchema) -> None:
        self._folders, self._schema = folders, schema
        self.parts = [PartSummary.model_validate_json((folder / _SUMMARY).read_text()) for folder in folders]

    @property
    def rows_read(self) -> int:
        """Rows of the source."""
        return sum(part.rows_read for part in self.parts)

    @property
    def rows_rejected(self) -> int:
        """Rows of the source that do not fit the schema."""
        return sum(part.rows_rejected for part in self.parts)

    @property
    def other_files(self) -> Counter[str]:
        """Files of archives that are no images by their names, by suffix."""
        return sum((Counter(part.other_files) for part in self.parts), Counter())

    @property
    def counts(self) -> list[int]:
        """Examples in each range of ids."""
        return [sum(counts) for counts in zip(*(part.counts for part in self.parts), strict=True)]

    @property
    def files(self) -> list[Path]:
        """The runs themselves, in the order of the source's rows."""
        return [file for folder in self._folders for file in sorted(folder.glob("*.arrow"))]

    @property
    def rejected(self) -> pl.LazyFrame:
        """The rows that do not fit the schema; see `headrace.components.sources.rejected_rows.REJECTED`."""
        files = [file for folder in self._folders for file in sorted(folder.glob("rejected-*.parquet"))]
        return scan_files(files) if files else pl.LazyFrame(schema=REJECTED)

    def unique(self, column: str) -> Words:
        """Digests of the values of a column whose values must differ, missing ones left out."""
        place = self._schema.unique_columns.index(column)
        files = [folder / f"unique-{place}.bin" for folder in self._folders]
        return np.concatenate(
            [np.fromfile(file, np.uint64) for file in files if file.exists()] or [np.empty(0, np.uint64)]
        )


def write_runs(parts: Sequence[SourcePart], folder: Path, *, schema: ExampleSchema, map_: Map) -> Runs:
    """Write the sorted runs of all parts to `folder`; only parts that changed are read.

    Raises RowError, naming file and row, for a row that can't be read.
    """
    folders = [folder / key for key in _keys(parts, schema)] if len(parts) > 1 else [folder / "only"]
    _remove(folder, keep=folders if len(parts) > 1 else ())
    changed = [(part, one) for part, one in zip(parts, folders, strict=True) if not (one / _SUMMARY).exists()]
    if len(parts) > len(changed):
        log.info("unchanged files are not read again", unchanged=len(parts) - len(changed), read=len(changed))
    owners: deque[Path] = deque()
    results = map_to_files(map_, partial(prepare, schema=schema), _blocks(changed, owners))
    rows_before: Counter[str] = Counter()
    try:
        of = {folder: part for part, folder in changed}
        for owner, group in groupby(results, key=lambda _: owners.popleft()):
            _write_part(owner, group, rows_before, of[owner])
    except RowError as error:
        raise error.after(rows_before[error.file]) from error
    return Runs(folders, schema)


def _blocks(parts: Sequence[tuple[SourcePart, Path]], owners: deque[Path]) -> Iterator[tuple[Block, Path]]:
    """The blocks of all parts with the files of their runs, and to `owners` the folder of each."""
    for part, folder in parts:
        folder.mkdir(parents=True)
        for number, block in enumerate(part.read()):
            owners.append(folder)
            yield block, folder / f"{number:06d}.arrow"


def _write_part(folder: Path, results: Iterator[Prepared], rows_before: Counter[str], part: SourcePart) -> None:
    rows_read = rows_rejected = 0
    counts = np.zeros(RANGES, np.int64)
    for number, result in enumerate(results):
        if rejected := result.rejected.height:
            offset = rows_before[result.rejected["file"][0]]
            numbered = result.rejected.with_columns(pl.col("row") + offset)
            numbered.write_parquet(folder / f"rejected-{number:06d}.parquet")
        for place, words in enumerate(result.unique.values()):
            with (folder / f"unique-{place}.bin").open("ab") as file:
                words.tofile(file)
        rows_before.update(dict.fromkeys(result.files, result.rows_read))
        rows_read, rows_rejected = rows_read + result.rows_read, rows_rejected + rejected
        counts += result.counts
    summary = PartSummary(
        rows_read=rows_read,
        rows_rejected=rows_rejected,
        counts=tuple(counts.tolist()),
        other_files=dict(sorted(part.others.counts.items())),
    )
    with replace_file(folder / _SUMMARY) as file:  # last: a part without it is not whole
        file.write_text(summary.model_dump_json(), encoding="utf-8")


def _keys(parts: Sequence[SourcePart], schema: ExampleSchema) -> list[str]:
    with ThreadPoolExecutor() as pool:  # most of it is the SHA-256 of the files
        return list(pool.map(partial(_key, schema=schema), parts))


def _key(part: SourcePart, *, schema: ExampleSchema) -> str:
    """Digest of all that the runs of a part depend on."""
    what = schema.model_dump_json(include=set(ExampleSchema.model_fields))
    content = [_FORMAT, what, part.how, *((file.name, sha256_of(file)) for file in part.files)]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:32]


def _remove(folder: Path, *, keep: Sequence[Path]) -> None:
    """Remove runs that nobody needs, and those that were not written to their end."""
    for one in folder.iterdir() if folder.exists() else ():
        if one not in keep or not (one / _SUMMARY).exists():
            shutil.rmtree(one)
