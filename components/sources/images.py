"""Images in archives or packed folders, in blocks that are decoded wherever there is room."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from headrace.components.errors import DataError, ParamsError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.settings import Settings
from headrace.components.sources.file import IMAGE_SUFFIXES, FileName, SourceFile
from headrace.components.sources.file_set import FileSet
from headrace.components.sources.grouping import grouped
from headrace.components.sources.other_files import OtherFiles, folder_name, should_report
from headrace.components.sources.raw_files import FoundFiles, PackedImages, PinnedFiles, RawFiles
from headrace.components.sources.raw_part import GivenSplit, RawPart
from headrace.components.sources.schema_checks import image_and_class
from headrace.components.sources.source import BLOCK_BYTES, Source, SourcePart

if TYPE_CHECKING:
    import polars as pl

    from headrace.components.sources.archives import Member

NAME = "file"  # the column that has each image's path; a key may ask for it
_PIXEL_BYTES = 1 << 26  # of all images of a block, decoded

Labels = Mapping[str, Mapping[str, str | None]]


class LabelsFile(SourceFile):
    """A delimited file, UTF-8 with a header line, of one row for each image.

    The label, features beside the image, and key, group, time and weight if they are given, are columns of it, too.
    """

    name_column: str = "file"
    """The column that names the image: its path in the archive, its name, or its name without the suffix."""

    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """The character between two values."""


class ImagePart(Settings):
    """Images, in archives (tar or zip) or below a folder, and the split that the source gives them."""

    archives: tuple[SourceFile, ...] = ()
    """Archives of images: tar (plain, gzip, bzip2, xz, zstd) or zip."""

    files: FileSet | None = None
    """All images of a folder or bucket, instead of `archives`. They are packed: a Parquet file for each folder."""

    labels: LabelsFile | None = None
    """A table with the label of each image; `null` takes the name of the image's folder as its label."""

    given_split: GivenSplit | None = None
    """The split that the source assigns to these rows, for all parts or none. `train` is divided into train and
    validation.
    """

    @model_validator(mode="after")
    def _archives_or_files(self) -> Self:
        if bool(self.archives) == bool(self.files):
            raise ValueError("give either archives (pinned files) or files (all of a folder or bucket)")
        return self


class ImageSource(Source):
    """Images: JPEG, PNG, GIF (its first frame), BMP, WebP, TIFF (its first page) or AVIF, as their content says."""

    kind: Literal["images"] = "images"
    dataset: FileName
    """Folder of the files in `$HEADRACE_MIRROR`."""

    parts: Annotated[tuple[ImagePart, ...], Field(min_length=1)]
    """Sets of images, one after the other."""

    def check_schema(self, schema: ExampleSchema) -> None:
        """Raise ParamsError unless there is one image and its class; all else needs a labels file."""
        image, _, label = image_and_class(schema, kind=self.kind)
        if label == NAME:
            raise ParamsError(f"ingest.label: {NAME!r} is the path of each image; give the label another name")
        others = set(schema.source_columns) - {image, label, NAME}
        if others and not all(part.labels for part in self.parts):
            raise ParamsError(f"ingest: no column {min(others)!r}; without a labels file, there is only {NAME!r}")

    def raw_files(self, schema: ExampleSchema) -> Sequence[RawFiles]:
        """For each part its archives or packed folders, and after them its labels file, if it has one."""
        several = len([part for part in self.parts if part.files]) > 1
        needed: list[RawFiles] = []
        for number, part in enumerate(self.parts, start=1):
            if part.files:
                needed.append(PackedImages(part.files, self.dataset, f"{number}_" if several else ""))
            else:
                needed.append(PinnedFiles(part.archives, self.dataset))
            needed.append(PinnedFiles((part.labels,) if part.labels else (), self.dataset))
        return needed

    def open_parts(self, found: Sequence[FoundFiles], schema: ExampleSchema) -> list[SourcePart]:
        """A part for each archive or packed folder; one for all that have a labels file together."""
        parts = []
        for part, archives, labels in zip(self.parts, found[::2], found[1::2], strict=True):
            how = f"images {part.given_split}"
            packed = part.files is not None
            read = partial(image_blocks, packed=packed, schema=schema, given_split=part.given_split)
            if part.labels is None:
                archives.not_fetched.require_images(class_names(schema))
                for number, archive in enumerate(archives.paths):
                    others, not_fetched = OtherFiles(), OtherFiles() if number else archives.not_fetched
                    read_one = partial(read, [archive], others=others)
                    parts.append(SourcePart((archive,), how, read_one, others, not_fetched))
            else:
                others, files = OtherFiles(), (*archives.paths, *labels.paths)
                how = f"{how} {part.labels.name_column!r} {part.labels.separator!r}"
                read_all = partial(_read_with_labels, files, part.labels, schema, partial(read, others=others))
                parts.append(SourcePart(files, how, read_all, others, archives.not_fetched))
        return parts


def _read_with_labels(
    files: Sequence[Path], labels: LabelsFile, schema: ExampleSchema, read: "Callable[..., Iterable[ImageBlock]]"
) -> "Iterable[ImageBlock]":
    *archives, file = files
    return read(archives, labels=read_labels(file, labels, schema))


@dataclass(frozen=True)
class ImageBlock:
    """Some image files, as they are (None: there is none), and in `rows` all other source columns and their paths.

    `first` is the place of the first one among the images of the part, from 1.
    """

    contents: tuple[bytes | None, ...]
    rows: "pl.DataFrame"
    first: int
    archive: str
    given_split: GivenSplit | None = None
    absent: str = "only its row in the labels file"

    def read(self, *, numbers: Collection[str] = ()) -> RawPart:
        """All columns but the image."""
        return RawPart(self.rows, dict.fromkeys(self.rows.columns, self.archive), self.given_split)

    def decode(self, schema: ExampleSchema) -> "tuple[RawPart, pl.DataFrame]":
        """Images that can be used, with their rows, and why the others can't be."""
        import polars as pl

        from headrace.components.schema.decoding import ImageError, decode_image, keep_image

        name, feature, _ = image_and_class(schema, kind="images")
        take = keep_image if feature.encoding == "encoded" else decode_image
        images: list[Any] = []
        kept: list[int] = []
        problems: dict[int, tuple[str, str, str]] = {}
        for place, content in enumerate(self.contents):
            try:
                if content is None:
                    raise ImageError("missing", found=self.absent)
                images.append(take(content, feature))
                kept.append(place)
            except ImageError as error:
                problems[place] = (error.reason, error.expected, error.found)
        table = self.rows[kept].with_columns(_column(name, images, feature)).select(schema.source_columns)
        rows = pl.DataFrame({"file": self.rows[NAME][kept], "row": pl.Series(kept, dtype=pl.Int64) + self.first})
        part = RawPart(table, dict.fromkeys(schema.source_columns, self.archive), self.given_split, rows)
        return part, self._rejected(problems, column=name)

    def _rejected(self, problems: Mapping[int, tuple[str, str, str]], *, column: str) -> "pl.DataFrame":
        import polars as pl

        from headrace.components.sources.rejected_rows import REJECTED

        rows = self.rows[list(problems)]
        values = rows.select(pl.struct(pl.all()).struct.json_encode()).to_series()
        rejected = [
            (file, self.first + place, column, *problem, value)
            for file, (place, problem), value in zip(rows[NAME], problems.items(), values, strict=True)
        ]
        return pl.DataFrame(rejected, schema=REJECTED, orient="row")


def read_labels(path: Path, file: LabelsFile, schema: ExampleSchema) -> Labels:
    """The columns of the schema, by image; raise DataError for an image that is named twice."""
    from headrace.components.sources.delimited.reader import read_delimited_file

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
    packed: bool = False,
    schema: ExampleSchema,
    labels: Labels | None = None,
    given_split: GivenSplit | None = None,
    others: OtherFiles | None = None,
) -> Iterator[ImageBlock]:
    """Yield the images of some archives, about 16 MiB at a time; `others` counts files that are none by their names.

    With `packed`, the files are no archives but folders as ingest packs them, in Parquet.

    An image's row is that of `labels`, under its path, its name, or its name without the suffix; without labels, its
    label is the name of its folder. An image that is only in `labels` comes without content. Raises DataError if there
    are none, if the folder of a class has other files only, and if two images have one row of `labels`.
    """
    _, feature, _ = image_and_class(schema, kind="images")
    most = most_images(feature)
    files = " and ".join(path.name for path in archives)
    others = others if others is not None else OtherFiles()
    images = _images(_members(archives, packed=packed), schema, labels, others)
    before = 0
    for batch in grouped(images, size_bytes=_content_bytes, most_bytes=BLOCK_BYTES, most_items=most):
        yield _block(batch, schema, before + 1, files, given_split)
        before += len(batch)
    if not before:
        found = f", found {noted}" if (noted := should_report(others.counts)) else ""
        raise DataError(f"{files}: no images{found}; looked for names that end in {', '.join(IMAGE_SUFFIXES)}")


def _column(name: str, images: list[Any], feature: ImageFeature) -> "pl.Series":
    import numpy as np
    import polars as pl

    if feature.encoding == "encoded":
        return pl.Series(name, images, dtype=pl.Binary)
    pixels = np.stack(images) if images else np.empty((0, feature.size), np.uint8)
    return pl.Series(name, pixels, dtype=pl.Array(pl.UInt8, feature.size))


@dataclass(frozen=True)
class _Image:
    path: str
    content: bytes | None
    row: Mapping[str, str | None]


def _content_bytes(image: _Image) -> int:
    return len(image.content or b"")


def _members(archives: Sequence[Path], *, packed: bool) -> "Iterator[Member]":
    from headrace.components.sources.archives import read_members
    from headrace.components.sources.packed_images import read_packed_images

    return chain.from_iterable(map(read_packed_images if packed else read_members, archives))


def _images(
    members: "Iterable[Member]", schema: ExampleSchema, labels: Labels | None, others: OtherFiles
) -> Iterator[_Image]:
    owners: dict[str, str] = {}
    _, _, label = image_and_class(schema, kind="images")
    for member in members:
        if not others.meet(member.name):
            continue
        if labels is None:
            yield _Image(member.name, member.content, {label: folder_name(member.name) or None})
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


def most_images(feature: ImageFeature) -> int:
    """Number of images whose pixels a block may have."""
    return max(1, _PIXEL_BYTES // feature.size)


def class_names(schema: ExampleSchema) -> tuple[str, ...]:
    """Classes that a folder of images may be called."""
    return getattr(schema.label, "classes", None) or ()


def _names(path: str) -> tuple[str, str, str]:
    """What a labels file may call an image, the most exact first."""
    pure = PurePosixPath(path)
    return path, pure.name, pure.stem


def _block(
    images: Sequence[_Image], schema: ExampleSchema, first: int, files: str, given_split: GivenSplit | None
) -> ImageBlock:
    import polars as pl

    columns = {name: [image.row.get(name) for image in images] for name in _other_columns(schema)}
    columns[NAME] = [image.path for image in images]
    rows = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    return ImageBlock(tuple(image.content for image in images), rows, first, files, given_split)


def _other_columns(schema: ExampleSchema) -> list[str]:
    image, _, _ = image_and_class(schema, kind="images")
    return [name for name in schema.source_columns if name not in (image, NAME)]
