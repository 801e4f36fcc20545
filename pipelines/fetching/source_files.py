"""The source's files: fetched to data/<pipeline>/raw, and read from there block by block."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples import shards
from headrace.components.examples.example_blocks import Block
from headrace.components.examples.settings import ExampleSchema, ImageFeature
from headrace.components.files.atomic import replace_folder
from headrace.components.sources.bundled import read_digits
from headrace.components.sources.delimited import delimited_blocks, read_delimited_part, read_layout
from headrace.components.sources.file import SourceFile
from headrace.components.sources.generated import generated_lines
from headrace.components.sources.generated_settings import GeneratedSource
from headrace.components.sources.idx import read_idx_part
from headrace.components.sources.images import check_columns, class_names, image_blocks, read_labels
from headrace.components.sources.json_lines import json_blocks
from headrace.components.sources.other_files import OtherFiles
from headrace.components.sources.raw_part import RawPart, image_and_class
from headrace.components.sources.settings import (
    BundledSource,
    DelimitedPart,
    DelimitedSource,
    GivenSplit,
    IdxSource,
    ImageSource,
    InlineSource,
    JsonLinesSource,
    LabelsFile,
    ParquetSource,
    Source,
    TableSource,
    TextSource,
)
from headrace.pipelines.artifacts.artifact import read_artifact
from headrace.pipelines.artifacts.ingest_report import IngestReport
from headrace.pipelines.fetching.derived_files import write_copies
from headrace.pipelines.fetching.fetch import fetch, located
from headrace.pipelines.fetching.file_sets import copied_files, packed_images
from headrace.pipelines.fetching.landed_partitions import fetch_partitions
from headrace.pipelines.fetching.row_files import RowSource, reading_of
from headrace.pipelines.paths import PipelinePaths


@dataclass(frozen=True)
class SourcePart:
    """Files that are read together, from data/<pipeline>/raw, and the settings that say how."""

    files: tuple[Path, ...]
    how: str
    read: Callable[[], Iterable[Block]]
    others: OtherFiles = field(default_factory=OtherFiles)  # counted while the part is read
    not_fetched: OtherFiles = field(default_factory=OtherFiles)  # counted before


def fetch_source(  # noqa: PLR0911 - one return per kind
    source: Source, schema: ExampleSchema, paths: PipelinePaths
) -> list[SourcePart]:
    """Return the source's parts, in order, after fetching to data/<pipeline>/raw what is not there yet.

    Raises ParamsError for a schema that the source can't fill, DataError and ServiceError for files that can't be had.
    """
    match source:
        case BundledSource():
            return [_write_bundled(schema, paths)]
        case InlineSource():
            _require_no_images(schema, source.kind)
            lines = "".join(f"{json.dumps(row)}\n" for row in source.rows)
            return _write_lines([(None, lines)], schema, paths)
        case GeneratedSource():
            return _write_generated(source, schema, paths)
        case IdxSource():
            return _fetch_idx(source, schema, paths)
        case DelimitedSource():
            return _fetch_delimited(source, schema, paths)
        case ParquetSource() | JsonLinesSource() | TextSource():
            return _fetch_tables(source, schema, paths)
        case ImageSource():
            return _fetch_images(source, schema, paths)


def _write_bundled(schema: ExampleSchema, paths: PipelinePaths) -> SourcePart:
    image, feature, label = image_and_class(schema, kind="bundled")
    _require_columns(schema, (image, label))
    table = read_digits(image=image, label=label, feature=feature)
    with replace_folder(paths.raw) as folder:
        shards.write(table, folder)
    part = RawPart(table, dict.fromkeys(table.columns, "scikit-learn's digits"))
    return SourcePart(tuple(sorted(paths.raw.iterdir())), "bundled", lambda: [part])


def _write_generated(source: GeneratedSource, schema: ExampleSchema, paths: PipelinePaths) -> list[SourcePart]:
    if others := [name for name in schema.source_columns if name not in ("x", "y")]:
        raise ParamsError(f"ingest: a source of kind 'generated' gives the columns x and y, and not {others[0]!r}")
    lines = [(part.given_split, generated_lines(source, place=place)) for place, part in enumerate(source.parts)]
    return _write_lines(lines, schema, paths)


def _write_lines(
    texts: Sequence[tuple[GivenSplit | None, str]], schema: ExampleSchema, paths: PipelinePaths
) -> list[SourcePart]:
    """Write texts of JSON lines, whose rows have the split that stands with them, to data/<pipeline>/raw."""
    parts = []
    with replace_folder(paths.raw) as folder:
        for number, (given_split, text) in enumerate(texts):
            name = f"rows-{number}.jsonl"
            (folder / name).write_text(text, encoding="utf-8")
            read = partial(json_blocks, paths.raw / name, columns=schema.source_columns, given_split=given_split)
            parts.append(SourcePart((paths.raw / name,), f"lines {given_split}", read))
    return parts


def _fetch_idx(source: IdxSource, schema: ExampleSchema, paths: PipelinePaths) -> list[SourcePart]:
    image, feature, label = image_and_class(schema, kind="idx")
    _require_columns(schema, (image, label))
    _fetch_all(source.dataset, [file for part in source.parts for file in (part.images, part.labels)], paths)
    parts = []
    for part in source.parts:
        files = (paths.raw / part.images.name, paths.raw / part.labels.name)
        read = partial(read_idx_part, *files, image=image, label=label, feature=feature, given_split=part.given_split)
        parts.append(SourcePart(files, f"idx {part.given_split}", partial(_once, read)))
    return parts


def _fetch_delimited(source: DelimitedSource, schema: ExampleSchema, paths: PipelinePaths) -> list[SourcePart]:
    _require_no_images(schema, source.kind)
    how = f"delimited {source.separator!r} {source.null_values}"
    if not source.parts:
        files = _fetch_unpinned(source, paths)
        return [SourcePart((file,), how, partial(_read_file, file, source, schema)) for file in files]
    _fetch_all(source.dataset, [file for part in source.parts for file in part.files], paths)
    parts = []
    for part in source.parts:
        columns = [file.columns for file in part.files]
        sides = tuple(paths.raw / file.name for file in part.files)
        read = partial(_read_delimited, part, sides, source, schema)
        parts.append(SourcePart(sides, f"{how} {columns} {part.given_split}", read))
    return parts


def _fetch_tables(source: RowSource, schema: ExampleSchema, paths: PipelinePaths) -> list[SourcePart]:
    _require_no_images(schema, source.kind)
    files: list[tuple[Path, GivenSplit | None]]
    if source.parts:
        _fetch_all(source.dataset, [part.file for part in source.parts], paths)
        files = [(paths.raw / part.file.name, part.given_split) for part in source.parts]
    else:
        files = [(file, None) for file in _fetch_unpinned(source, paths)]
    how, read = reading_of(source, schema)
    return [
        SourcePart((file,), f"{how} {given_split}", partial(read, file, given_split=given_split))
        for file, given_split in files
    ]


def _fetch_images(source: ImageSource, schema: ExampleSchema, paths: PipelinePaths) -> list[SourcePart]:
    for part in source.parts:
        check_columns(schema, has_labels=part.labels is not None)
    parts = []
    for part, (archives, not_fetched) in zip(source.parts, _fetch_archives(source, paths), strict=True):
        how = f"images {part.given_split}"
        read = partial(image_blocks, schema=schema, given_split=part.given_split)
        if part.labels is None:
            not_fetched.require_images(class_names(schema))
            for number, archive in enumerate(archives):
                others = OtherFiles()
                read_one = partial(read, [archive], others=others)
                parts.append(SourcePart((archive,), how, read_one, others, OtherFiles() if number else not_fetched))
        else:
            labels, others = paths.raw / part.labels.name, OtherFiles()
            how = f"{how} {part.labels.name_column!r} {part.labels.separator!r}"
            read_all = partial(_read_images, partial(read, others=others), archives, part.labels, schema)
            parts.append(SourcePart((*archives, labels), how, read_all, others, not_fetched))
    return parts


def _fetch_archives(source: ImageSource, paths: PipelinePaths) -> list[tuple[list[Path], OtherFiles]]:
    """Return each part's archives, after fetching them or making them of its file set, and fetching all labels.

    With them comes what else is in a file set.
    """
    others = [OtherFiles() for _ in source.parts]
    several = len([part for part in source.parts if part.files]) > 1
    copies = [
        packed_images(
            located(part.files, dataset=source.dataset, root=paths.root),
            folder=paths.raw,
            prefix=f"{number}_" if several else "",
            others=others[number - 1],
        )
        if part.files
        else []
        for number, part in enumerate(source.parts, start=1)
    ]
    pinned = [file for part in source.parts for file in (*part.archives, *([part.labels] if part.labels else []))]
    packed = [copy for part in copies for copy in part]
    _fetch_all(source.dataset, pinned, paths, others=[copy.path.name for copy in packed])
    if packed:
        write_copies(packed, aside=paths.refused, at_once=1)  # each reads in several threads
    return [
        ([copy.path for copy in made] or [paths.raw / file.name for file in part.archives], not_fetched)
        for part, made, not_fetched in zip(source.parts, copies, others, strict=True)
    ]


def _read_images(
    read: Callable[..., Iterator[Block]], archives: Sequence[Path], file: LabelsFile, schema: ExampleSchema
) -> Iterator[Block]:
    return read(archives, labels=read_labels(archives[0].with_name(file.name), file, schema))


def _fetch_unpinned(source: TableSource, paths: PipelinePaths) -> list[Path]:
    """Copy the source's partitions or file set to data/<pipeline>/raw, and remove whatever else is there."""
    if source.partitions:
        copies = fetch_partitions(source.partitions, source.interval, folder=paths.raw, aside=paths.refused)
    elif source.files:
        files = located(source.files, dataset=source.dataset, root=paths.root)
        copies = write_copies(copied_files(files, folder=paths.raw), aside=paths.refused)
    _remove_others([file.name for file in copies], paths)
    return copies


def _require_no_images(schema: ExampleSchema, kind: str) -> None:
    for name, column in schema.features.items():
        if isinstance(column, ImageFeature):
            raise ParamsError(f"ingest.features.{name}: a source of kind {kind!r} gives no images")


def _read_delimited(
    part: DelimitedPart, files: Sequence[Path], source: DelimitedSource, schema: ExampleSchema
) -> Iterator[Block]:
    if len(files) == 1:
        return _read_file(files[0], source, schema, part)
    columns = schema.source_columns
    read = partial(read_delimited_part, separator=source.separator, null_values=source.null_values)
    return iter([read(part, files, columns=columns)])


def _read_file(
    file: Path, source: DelimitedSource, schema: ExampleSchema, part: DelimitedPart | None = None
) -> Iterator[Block]:
    layout = read_layout(
        file,
        columns=schema.source_columns,
        separator=source.separator,
        null_values=source.null_values,
        replaced_by=part.files[0].columns if part else None,
        given_split=part.given_split if part else None,
    )
    return delimited_blocks(file, layout)


def _once(read: Callable[[], RawPart]) -> Iterator[Block]:
    yield read()


def _require_columns(schema: ExampleSchema, columns: Sequence[str]) -> None:
    """Raise ParamsError if the key, the group or the time is a column that the source does not have."""
    time = (schema.time.column,) if schema.time else ()
    for setting, names in (("key", schema.key), ("group", schema.group), ("time", time)):
        for name in names:
            if name not in columns:
                raise ParamsError(f"ingest.{setting}: no column {name!r}; this source gives {' and '.join(columns)}")


def _fetch_all(dataset: str, files: Sequence[SourceFile], paths: PipelinePaths, *, others: Sequence[str] = ()) -> None:
    """Fetch every file to data/<pipeline>/raw, and remove whatever else is there but `others`."""
    names = [*(file.name for file in files), *others]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ParamsError(f"ingest.source: two files are called {repeated[0]!r}; give each its own name")
    known = _last_sums(paths)
    for file in files:
        fetch(
            file,
            dataset=dataset,
            root=paths.root,
            folder=paths.raw,
            aside=paths.refused,
            known_sha256=known.get(file.name),
        )
    _remove_others(names, paths)


def _last_sums(paths: PipelinePaths) -> dict[str, str]:
    """The SHA-256 of each file of the last ingest."""
    try:
        report = read_artifact(paths.ingest_metrics, IngestReport, command=f"headrace ingest {paths.pipeline}")
    except DataError:
        return {}  # no ingest before this one, or of another version: all is hashed again
    return {file.name: file.sha256 for file in report.files}


def _remove_others(names: Sequence[str], paths: PipelinePaths) -> None:
    kept = set(names)
    for path in paths.raw.iterdir() if paths.raw.exists() else ():
        if path.is_file() and path.name not in kept:
            path.unlink()
