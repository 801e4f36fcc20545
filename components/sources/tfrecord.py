"""TFRecord files of `tf.train.Example`, plain or compressed, read without TensorFlow.

A record is its length (uint64), a checksum of these bytes, its content, and a checksum of that, all little-endian
(https://www.tensorflow.org/tutorials/load_data/tfrecord). Every checksum is verified.
"""

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from headrace.components.errors import DataError
from headrace.components.schema.example_schema import ExampleSchema, RowSchema
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.sources.compressed import open_plain
from headrace.components.sources.grouping import grouped
from headrace.components.sources.raw_part import GivenSplit, RowError, require_columns
from headrace.components.sources.schema_checks import require_table_or_images
from headrace.components.sources.source import BLOCK_BYTES, Block, Source
from headrace.components.sources.table_file import TableFile, suffix_of
from headrace.components.sources.table_source import RowFileSource

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_LONGEST_RECORD_BYTES = 1 << 28  # it is held in memory
_BLOCK_RECORDS = 1 << 14
_HEADER_BYTES, _SUM_BYTES = 12, 4
_POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected
_CHUNK_BYTES = 1 << 10
_ALL = 0xFFFFFFFF


class TfRecordSource(RowFileSource):
    """TFRecord files of `tf.train.Example`; features go by name, others are left out. One may hold image files."""

    kind: Literal["tfrecord"] = "tfrecord"
    table_suffixes = (".tfrecord", ".tfrecords")

    def check_schema(self, schema: ExampleSchema) -> None:
        """Raise ParamsError for more than one image, or one beside other features."""
        require_table_or_images(schema, kind=self.kind)

    def blocks(self, file: Path, *, schema: ExampleSchema, given_split: GivenSplit | None) -> Iterable[Block]:
        """Examples of a file."""
        return tfrecord_blocks(file, schema=schema, given_split=given_split)

    @classmethod
    def open_table(cls, path: Path, *, source: Source, columns: Sequence[str]) -> TableFile | None:
        """A file that ends in .tfrecord or .tfrecords."""
        return TfRecordTable(path) if suffix_of(path) in cls.table_suffixes else None


class TfRecordTable(TableFile):
    """A TFRecord file to predict."""

    def present(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names that an example has."""
        found: set[str] = set()
        for records in _groups(self.path):
            for record in records:
                found.update(_features(record, self.path.name, 0))
            if found.issuperset(names):
                break
        return tuple(name for name in names if name in found)

    def blocks(self, schema: RowSchema) -> Iterable[Block]:
        """Examples of the file."""
        return tfrecord_blocks(self.path, schema=schema)


def tfrecord_blocks(path: Path, *, schema: RowSchema, given_split: GivenSplit | None = None) -> Iterator[Block]:
    """Yield the source columns of a file, about 16 MiB at a time, as `arrow_blocks` does.

    A feature that an example lacks, or that is an empty list, is missing there. Raises RowError for a damaged record, a
    list of several values where the schema has none, and values of several types, DataError for no records and a
    feature that no example has.
    """
    from headrace.components.sources.arrow_columns import arrow_blocks

    names, rows = schema.source_columns, 0
    seen: set[str] = set()
    kinds: dict[str, str] = {}
    for records in _groups(path):
        batch = _batch(records, schema, seen, kinds, file=path.name, first=rows + 1)
        yield from arrow_blocks(
            [batch],
            batch.schema,
            path=path,
            schema=schema,
            given_split=given_split,
            reported=lambda _: nullcontext(),  # all is read already
            rows_before=rows,
        )
        rows += len(records)
    if not rows:
        raise DataError(f"{path.name} has no rows")
    require_columns(names, [sorted(seen)], files=path.name)


def _batch(
    records: Sequence[bytes],
    schema: RowSchema,
    seen: set[str],
    kinds: dict[str, str],
    *,
    file: str,
    first: int,
) -> "pa.RecordBatch":
    """Examples as columns of int64, float32 or text, or lists of numbers; an image is bytes.

    `seen` gets the names of all features, `kinds` the kind of each that the schema has.
    """
    import pyarrow as pa

    names, lists, known = schema.source_columns, schema.list_columns, ImageFeature.among(schema.columns)
    images = [name for name in names if name in known]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for row, record in enumerate(records, start=first):
        features = _features(record, file, row)
        seen.update(features)
        for name, values in columns.items():
            kind, value = _value(features, name, file, row, is_list=name in lists)
            if kind is not None and kinds.setdefault(name, kind) != kind:
                raise RowError(file, row, f"feature {name!r}: expected {kinds[name]}, as before, found {kind}")
            if isinstance(value, bytes) and name not in images:
                value = _text(value, name, file, row)
            values.append(value)
    types = {"int64_list": pa.int64(), "float_list": pa.float32(), "bytes_list": pa.large_string()}
    found = {name: types[kinds[name]] if name in kinds else pa.null() for name in columns}
    found |= {name: pa.list_(found[name]) for name in lists if kinds.get(name) in ("int64_list", "float_list")}
    found |= {name: pa.large_binary() for name in images if kinds.get(name) in (None, "bytes_list")}
    arrays = [pa.array(values, found[name]) for name, values in columns.items()]
    return pa.record_batch(arrays, names=list(columns))


def _value(features: Mapping[str, Any], name: str, file: str, row: int, *, is_list: bool) -> tuple[str | None, Any]:
    """Kind of a feature, and its one value, or its numbers where it is a list; None where there is none."""
    if (feature := features.get(name)) is None:
        return None, None
    kind = feature.WhichOneof("kind")
    values: Sequence[Any] = getattr(feature, kind).value if kind else ()
    if is_list and kind != "bytes_list":
        return (kind, list(values)) if len(values) else (None, None)
    if len(values) > 1:
        raise RowError(file, row, f"feature {name!r}: expected one value, found a list of {len(values)}")
    return (kind, values[0]) if len(values) else (None, None)


def _text(value: bytes, name: str, file: str, row: int) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RowError(file, row, f"feature {name!r}: expected UTF-8 text, found other bytes") from error


def _features(record: bytes, file: str, row: int) -> dict[str, Any]:
    """Features by name; raise RowError for a name that is there twice, of which a map would keep the last alone."""
    from google.protobuf.message import DecodeError

    try:
        entries = _example_class().FromString(record).features.feature
    except DecodeError as error:
        raise RowError(file, row, "not a tf.train.Example") from error
    features = {entry.key: entry.value for entry in entries}
    if len(features) < len(entries):
        [(name, times)] = Counter(entry.key for entry in entries).most_common(1)
        raise RowError(file, row, f"feature {name!r} is there {times} times; expected once")
    return features


@cache
def _example_class() -> Any:
    """The message tf.train.Example, its map of features as the list of entries that it is in a file.

    In a pool of its own: TensorFlow's, once imported, has the same names.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    proto = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tf", syntax="proto3")

    def field(message: Any, name: str, number: int, kind: int, **options: Any) -> None:
        label = options.pop("label", proto.LABEL_OPTIONAL)
        message.field.add(name=name, number=number, type=kind, label=label, **options)

    lists = {"bytes": proto.TYPE_BYTES, "float": proto.TYPE_FLOAT, "int64": proto.TYPE_INT64}
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(lists.items(), start=1):
        values = file.message_type.add(name=f"{name}_list")
        field(values, "value", 1, kind, label=proto.LABEL_REPEATED)
        field(feature, f"{name}_list", number, proto.TYPE_MESSAGE, type_name=f".tf.{name}_list", oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    field(entry, "key", 1, proto.TYPE_STRING)
    field(entry, "value", 2, proto.TYPE_MESSAGE, type_name=".tf.Feature")
    entry_type = ".tf.Features.FeatureEntry"
    field(features, "feature", 1, proto.TYPE_MESSAGE, type_name=entry_type, label=proto.LABEL_REPEATED)
    example = file.message_type.add(name="Example")
    field(example, "features", 1, proto.TYPE_MESSAGE, type_name=".tf.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tf.Example"))


def _groups(path: Path) -> Iterator[list[bytes]]:
    return grouped(_records(path), size_bytes=len, most_bytes=BLOCK_BYTES, most_items=_BLOCK_RECORDS)


def _records(path: Path) -> Iterator[bytes]:
    with _opened(path) as stream:
        row = 0
        while header := stream.read(_HEADER_BYTES):
            row += 1
            if not _is_header(header):
                raise RowError(path.name, row, _damage(row))
            [length] = struct.unpack("<Q", header[:8])
            if length > _LONGEST_RECORD_BYTES:
                raise RowError(path.name, row, f"has {length} bytes, more than {_LONGEST_RECORD_BYTES}")
            content, checksum = stream.read(length), stream.read(_SUM_BYTES)
            if len(content) < length or len(checksum) < _SUM_BYTES:
                raise RowError(path.name, row, "truncated: fetch or write the file again")
            if masked_crc32c(content) != int.from_bytes(checksum, "little"):
                raise RowError(path.name, row, "damaged (wrong checksum): fetch or write the file again")
            yield content


def _damage(row: int) -> str:
    if row == 1:
        return "no TFRecord file (wrong checksum of the first length), plain or gzip"
    return "damaged or truncated (wrong checksum of its length): fetch or write the file again"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's records; a first length of 35,615 has the two bytes that gzip begins with, and is none."""
    with path.open("rb", buffering=1 << 20) as stream:
        if _is_header(stream.read(_HEADER_BYTES)):
            stream.seek(0)
            yield stream
            return
    with open_plain(path) as plain:
        yield plain


def _is_header(header: bytes) -> bool:
    return len(header) == _HEADER_BYTES and masked_crc32c(header[:8]) == int.from_bytes(header[8:], "little")


def masked_crc32c(content: bytes) -> int:
    """Checksum of TFRecord files: CRC-32C (Castagnoli), rotated and shifted."""
    crc = _crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & _ALL


def _crc32c(content: bytes) -> int:
    """CRC-32C: the exclusive or of what each byte adds, by its value and its distance from the end of its chunk."""
    import numpy as np

    table, state = _contributions(), _ALL
    places = np.arange(_CHUNK_BYTES) * 256
    values = np.frombuffer(content, np.uint8)
    for start in range(0, len(values), _CHUNK_BYTES):
        chunk = values[start : start + _CHUNK_BYTES].copy()
        length = len(chunk)
        before = np.frombuffer(state.to_bytes(4, "little"), np.uint8)[:length]
        chunk[: len(before)] ^= before
        added = np.bitwise_xor.reduce(table.take(places[_CHUNK_BYTES - length :] + chunk))
        state = int(added) ^ (state >> 8 * length if length < 4 else 0)
    return state ^ _ALL


@cache
def _contributions() -> "np.ndarray[Any, np.dtype[np.uint32]]":
    """uint32[1024 * 256]: what a byte adds, by its place in a chunk and its value."""
    import numpy as np

    row = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        row = np.where(row & 1, row >> 1 ^ np.uint32(_POLYNOMIAL), row >> 1)
    first, rows = row, [row]
    for _ in range(_CHUNK_BYTES - 1):
        row = row >> 8 ^ first[row & 0xFF]
        rows.append(row)
    return np.concatenate(rows[::-1])
