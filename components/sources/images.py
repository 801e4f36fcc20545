"""Images in archives, in blocks that are decoded wherever there is room."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples.settings import ExampleSchema, ImageFeature
from headrace.components.sources.archives import read_members
from headrace.components.sources.decoding import ImageError, decode_image, keep_image
from headrace.components.sources.delimited import read_delimited_file
from headrace.components.sources.file import IMAGE_SUFFIXES
from headrace.components.sources.other_files import OtherFiles, should_report
from headrace.components.sources.raw_part import RawPart, image_and_class
from headrace.components.sources.row_blocks import BLOCK_BYTES
from headrace.components.sources.settings import GivenSplit, LabelsFile

NAME = "file"  # the column that has each image's path; a key may ask for it
_PIXEL_BYTES = 1 << 26  # of all images of a block, decoded
_REFUSED = {"file": pl.String, "row": pl.Int64, "reason": pl.String, "expected": pl.String, "found": pl.String}

Labels = Mapping[str, Mapping[str, str | None]]


@dataclass(frozen=True)
class ImageBlock:
    """Some image files, as they are (None: there is none), and in `rows` all other source columns and their paths.

    `first` is the place of the first one among the images of the part, from 1.
    """

    contents: tuple[bytes | None, ...]
    rows: pl.DataFrame
    first: int
    archive: str
    given_split: GivenSplit | None = None


def check_columns(schema: ExampleSchema, *, has_labels: bool) -> None:
    """Raise ParamsError for a schema that images can't fill."""
    if image_and_class(schema, kind="images")[2] == NAME:
        raise ParamsError(f"ingest.label: {NAME!r} is the path of each image; give the label another name")
    asked = set(schema.source_columns) - {*schema.columns, NAME}
    if asked and not has_labels:
        raise ParamsError(f"ingest: no column {sorted(asked)[0]!r}; without a labels file, there is only {NAME!r}")


def read_labels(path: Path, file: LabelsFile, schema: ExampleSchema) -> Labels:
    """Return by image the columns that the schema asks for; raise DataError for an image that is named twice."""
    columns = _other_columns(schema)
    wanted = list(dict.fromkeys([file.name_column, *columns]))
    table = read_delimited_file(path, columns=wanted, optional=(), separator=file.separator, null_values=("",))
    names = table[file.name_column]
    wrong = names.is_null() | names.is_duplicated()
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        problem = "no image is named" if names[row] is None else f"image {names[row]!r} is named twice"
        raise DataError(f"{path.name}, row {row + 1}: {problem}; give every image one row")
    return dict(zip(names, table.select(columns).iter_rows(named=True), strict=True))


def image_blocks(
    archives: Sequence[Path],
    *,
    schema: ExampleSchema,
    labels: Labels | None = None,
    given_split: GivenSplit | None = None,
    others: OtherFiles | None = None,
) -> Iterator[ImageBlock]:
    """Yield the images of some archives, about 16 MiB at a time; `others` counts files that are none by their names.

    An image's row is that of `labels`, under its path, its name, or its name without the suffix; without labels, its
    label is the name of its folder. An image that is only in `labels` comes without content. Raises DataError if there
    are none, if the folder of a class has other files only, and if two images have one row of `labels`.
    """
    _, feature, _ = image_and_class(schema, kind="images")
    most = max(1, _PIXEL_BYTES // feature.size)
    files = " and ".join(path.name for path in archives)
    batch: list[_Image] = []
    before, content_bytes = 0, 0
    others = others if others is not None else OtherFiles()
    for image in _images(archives, schema, labels, others):
        batch.append(image)
        content_bytes += len(image.content or b"")
        if content_bytes >= BLOCK_BYTES or len(batch) == most:
            yield _block(batch, schema, before + 1, files, given_split)
            before, content_bytes, batch = before + len(batch), 0, []
    if batch:
        yield _block(batch, schema, before + 1, files, given_split)
    elif not before:
        found = f", found {noted}" if (noted := should_report(others.counts)) else ""
        raise DataError(f"{files}: no images{found}; looked for names that end in {', '.join(IMAGE_SUFFIXES)}")


def decode_block(block: ImageBlock, schema: ExampleSchema) -> tuple[RawPart, pl.DataFrame]:
    """Return the images that can be used, with their rows, and of the others file, row, reason, expected and found."""
    name, feature, _ = image_and_class(schema, kind="images")
    take = keep_image if feature.encoding == "encoded" else decode_image
    files = block.rows[NAME]
    images, kept, refused = [], [], []
    for place, (file, content) in enumerate(zip(files, block.contents, strict=True)):
        try:
            if content is None:
                raise ImageError("missing", found="only its row in the labels file")
            images.append(take(content, feature))
            kept.append(place)
        except ImageError as error:
            refused.append((file, block.first + place, error.reason, error.expected, error.found))
    table = block.rows[kept].with_columns(_column(name, images, feature)).select(schema.source_columns)
    rows = pl.DataFrame({"file": files[kept], "row": pl.Series(kept, dtype=pl.Int64) + block.first})
    part = RawPart(table, dict.fromkeys(schema.source_columns, block.archive), block.given_split, rows)
    return part, pl.DataFrame(refused, schema=_REFUSED, orient="row")


def _column(name: str, images: list[Any], feature: ImageFeature) -> pl.Series:
    if feature.encoding == "encoded":
        return pl.Series(name, images, dtype=pl.Binary)
    pixels = np.stack(images) if images else np.empty((0, feature.size), np.uint8)
    return pl.Series(name, pixels, dtype=pl.Array(pl.UInt8, feature.size))


@dataclass(frozen=True)
class _Image:
    path: str
    content: bytes | None
    row: Mapping[str, str | None]


def _images(
    archives: Sequence[Path], schema: ExampleSchema, labels: Labels | None, others: OtherFiles
) -> Iterator[_Image]:
    owners: dict[str, str] = {}
    _, _, label = image_and_class(schema, kind="images")
    for archive in archives:
        for member in read_members(archive):
            if not others.meet(member.name):
                continue
            if labels is None:
                folder = PurePosixPath(member.name).parent.name
                yield _Image(member.name, member.content, {label: folder or None})
                continue
            found = next((name for name in _names(member.name) if name in labels), None)
            if found is None:
                yield _Image(member.name, member.content, {})
            elif found in owners:
                raise DataError(f"{owners[found]} and {member.name} are both {found!r} in the labels file; give paths")
            else:
                owners[found] = member.name
                yield _Image(member.name, member.content, labels[found])
    if labels is None:
        others.require_images(class_names(schema))
    for name, row in (labels or {}).items():
        if name not in owners:
            yield _Image(name, None, row)


def class_names(schema: ExampleSchema) -> tuple[str, ...]:
    """Return the classes that a folder of images may be called."""
    return getattr(schema.label, "classes", None) or ()


def _names(path: str) -> tuple[str, str, str]:
    """What a labels file may call an image, the most exact first."""
    pure = PurePosixPath(path)
    return path, pure.name, pure.stem


def _block(
    images: Sequence[_Image], schema: ExampleSchema, first: int, files: str, given_split: GivenSplit | None
) -> ImageBlock:
    columns = {name: [image.row.get(name) for image in images] for name in _other_columns(schema)}
    columns[NAME] = [image.path for image in images]
    rows = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    return ImageBlock(tuple(image.content for image in images), rows, first, files, given_split)


def _other_columns(schema: ExampleSchema) -> list[str]:
    image, _, _ = image_and_class(schema, kind="images")
    return [name for name in schema.source_columns if name not in (image, NAME)]
