"""What `headrace predict` is given: rows of a table or images, in blocks, as many as memory holds well."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path

import polars as pl
import structlog

from headrace.components.errors import DataError, ParamsError
from headrace.components.files.regular_files import require_regular
from headrace.components.mapping import map_in_threads, read_ahead
from headrace.components.schema.example_schema import RowSchema
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.features import Feature
from headrace.components.serving_model.images import image_blocks, warn_of_stretched
from headrace.components.serving_model.prediction_files import NUMBER, InputRows, numbered, read_blocks
from headrace.components.serving_model.prediction_rows import image_rows, typed_rows
from headrace.components.serving_model.row_counts import RowCounts
from headrace.components.sources.any_source import open_table
from headrace.components.sources.file import IMAGE_SUFFIXES, is_image
from headrace.components.sources.other_files import OtherFiles, should_report
from headrace.components.sources.table_file import TableFile
from headrace.pipelines.host.usable_cores import usable_cores
from headrace.pipelines.params import Pipeline

_KNOWN_BLOCKS = 2  # read before a model is loaded: a mistake in a small input costs no import of TensorFlow
_IMAGES_AT_ONCE = 32

log = structlog.get_logger()


@dataclass
class Input:
    """Rows to predict, and what a model can live with in those of them that have been read."""

    blocks: Iterator[InputRows]
    counts: RowCounts = field(default_factory=RowCounts)

    def report(self) -> None:
        """Log what was counted."""
        self.counts.report(log.warning)


def open_input(pipeline: Pipeline, input_file: Path) -> Input:
    """The rows of a file or folder that the pipeline's model takes, the first of them read and checked.

    `origin` has each row's file; or its number and the key's columns. Raises ParamsError and DataError; for what is
    wrong farther down, where it is read.
    """
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    if not input_file.exists():
        raise ParamsError(f"no file {input_file}")
    for file in input_file.iterdir() if input_file.is_dir() else (input_file,):
        require_regular(file)
    if input_file.is_dir() or is_image(input_file.name):
        return open_images(pipeline, {file.name: file for file in image_files(input_file)})
    return open_rows(pipeline, input_file, features)


def open_images(pipeline: Pipeline, files: Mapping[str, Path]) -> Input:
    """Images by the names that identify them, which the pipeline's model must take alone."""
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    images = ImageFeature.among(features)
    if len(images) != len(features) or len(images) != 1:
        raise ParamsError(f"the model takes rows with {', '.join(features)}, not images; give a table")
    [(name, feature)] = images.items()
    return _begun(Input(_images(files, name=name, feature=feature)))


def open_rows(
    pipeline: Pipeline,
    input_file: Path,
    features: Mapping[str, Feature],
    *,
    check: Callable[[pl.DataFrame], None] = lambda _: None,
) -> Input:
    """Number and key of each row of a table, and these of its columns in the types of examples; `check` may refuse."""
    wanted = RowSchema(features=dict(features), key=()).source_columns
    table = open_table(input_file, source=pipeline.ingest.source, columns=wanted)
    if table.replaced_by is not None:
        log.info("columns are named as in params.yaml, and not as in the header", columns=list(table.replaced_by))
    key = table.present([name for name in pipeline.ingest.key if name != NUMBER])
    counts = RowCounts()
    if ImageFeature.among(features):
        blocks = _image_table(table, features, key=key, counts=counts)
    else:
        schema = RowSchema(features=dict(features), key=key)
        blocks = _counted(read_blocks(table.blocks(schema), schema), features, counts)
    return _begun(Input(_checked(numbered(blocks), check), counts))


def image_files(path: Path) -> list[Path]:
    """An image, or those of a folder, by name; raise DataError for a folder without any."""
    others = OtherFiles()
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if others.meet(file.name))
    if noted := should_report(others.counts):
        log.warning("files that are no images by their names were left out", files=noted)
    if not files:
        raise DataError(f"no images in {path}; looked for names that end in {', '.join(IMAGE_SUFFIXES)}")
    return files


def _begun(found: Input) -> Input:
    """The same input, its first blocks read, and each further one while the one before it is used."""
    blocks = read_ahead(found.blocks)
    first = list(islice(blocks, _KNOWN_BLOCKS))
    return Input(chain(first, blocks), found.counts)


def _counted(blocks: Iterator[InputRows], features: Mapping[str, Feature], counts: RowCounts) -> Iterator[InputRows]:
    for block in blocks:
        counts.add(block.examples, features)
        yield block


def _checked(blocks: Iterator[InputRows], check: Callable[[pl.DataFrame], None]) -> Iterator[InputRows]:
    for block in blocks:
        check(block.examples)
        yield block


def _images(files: Mapping[str, Path], *, name: str, feature: ImageFeature) -> Iterator[InputRows]:
    stretched: list[str] = []
    names = iter(files)
    for block in image_blocks(list(files.values()), name=name, feature=feature, threads=usable_cores()):
        stretched += block.stretched
        yield InputRows(pl.DataFrame({"file": list(islice(names, len(block.pixels)))}), block.pixels.to_frame())
    warn_of_stretched(stretched, len(files), feature, warn=log.warning)


def _image_table(
    table: TableFile, features: Mapping[str, Feature], *, key: Sequence[str], counts: RowCounts
) -> Iterator[InputRows]:
    """The columns of the key, and the rows of a table of images, which ingest takes in files beside it."""
    images = ImageFeature.among(features)
    if len(images) != 1:
        raise ParamsError("expected one image a row: an image file, a folder of them, .parquet or .jsonl")
    [(name, feature)] = images.items()
    others = {one: of for one, of in features.items() if one != name}
    columns = RowSchema(features=others).source_columns if others else ()
    decode, rows = partial(image_rows, name=name, feature=feature), 0
    for raw in table.nested_blocks(tuple(dict.fromkeys([*key, *columns, name]))):
        threads = usable_cores()
        parts = map_in_threads(decode, raw.iter_slices(_IMAGES_AT_ONCE), threads=threads, waiting=threads)
        examples = pl.concat(list(parts))
        if others:
            values = raw.select(raw[one] if raw[one].dtype.is_nested() else raw[one].cast(pl.String) for one in columns)
            beside = typed_rows(values.iter_rows(named=True), others, rows_before=rows)
            counts.add(beside, others)
            examples = beside.hstack(examples)
        yield InputRows(raw.select(key), examples.select(list(features)))
        rows += raw.height
