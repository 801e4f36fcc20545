"""Data that a program gives to a training, as arrays, and as one Arrow file that workers read.

An array is a column of the file: fixed-size lists of its values, or lists of any length, which become a ragged tensor.
The file's metadata says how the arrays lie in dicts and tuples. Nothing is pickled.
"""

import hashlib
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from headrace.components.errors import DataError
from headrace.components.files.tables import scan_files
from headrace.components.nearest_name import nearest
from headrace.components.training.feeding.split_arrays import Columns

_STRUCTURE = b"headrace"
_KINDS = "biuf"  # NumPy's kinds of numbers: bool, int, unsigned, float


def given_columns(data: Any, *, label: str | None = None, weight: str | None = None, name: str = "train") -> Columns:
    """A set of examples as a program gives it.

    `data` is (features, labels) or (features, labels, weights) as `keras.Model.fit` takes them, each an array, or a
    dict or tuple of arrays; or a table: a dict of arrays, a Polars or Arrow table, a Parquet file or a folder of
    such files. Of a table, the column `label` is the labels, `weight` the weights, and the others the features by
    name. float64 becomes float32, as Keras does. Lists of numbers of any length become ragged tensors. Raises DataError
    for what no model takes: missing values, objects, arrays of different lengths.
    """
    if isinstance(data, tuple):
        if label is not None or weight is not None or len(data) not in (2, 3):
            raise DataError(
                f"{name}: expected (features, labels) or (features, labels, weights), found a tuple of {len(data)}"
                f"{'' if label is None else ', and label=, which is for tables'}"
            )
        features, labels, weights = (*data, None)[:3]
    else:
        features, labels, weights = _divided(_table(data, name), label, weight, name)
    columns = Columns(
        _converted(features, f"{name}, features"),
        _converted(labels, f"{name}, labels"),
        None if weights is None else _converted(weights, f"{name}, weights").astype(np.float32),
    )
    _require_one_length(columns, name)
    return columns


def _table(data: Any, name: str) -> Mapping[str, Any]:
    """The columns of a table by name."""
    match data:
        case str() | Path():
            return _table(scan_files(parquet_files(Path(data), name)).collect(), name)
        case pl.DataFrame():
            return {column.name: _column(column, name) for column in data}
        case pa.Table():
            return _table(pl.DataFrame(data), name)
        case Mapping():
            return data
    require_known_position(data, name)
    raise DataError(
        f"{name}: expected (features, labels), a dict of arrays, a Polars or Arrow table, a path of Parquet files, or "
        f"a function that returns a PyDataset or tf.data.Dataset, found {type(data).__name__}"
    )


def parquet_files(path: Path, name: str) -> list[Path]:
    """A Parquet file, or all in a folder by their names; raises DataError where there is none."""
    found = sorted(path.glob("**/*.parquet")) if path.is_dir() else [path]
    if not found or not found[0].is_file():
        raise DataError(f"{name}: expected a Parquet file or a folder of such files, found {path}")
    return found


def require_known_position(data: Any, name: str) -> None:
    """Raise DataError for data whose batches no other process can find: a data set as an object, or an iterator."""
    kind = type(data).__name__
    keras, tensorflow = sys.modules.get("keras"), sys.modules.get("tensorflow")
    if (keras and isinstance(data, keras.utils.PyDataset)) or (
        tensorflow and isinstance(data, tensorflow.data.Dataset)
    ):
        raise DataError(
            f"{name}: found a {kind}, which can't be sent to other processes; give the function that makes it, at the "
            f"top of a file: {name}=make_batches, or {name}=functools.partial(make_batches, part={name!r})"
        )
    if isinstance(data, Iterator) or (hasattr(data, "__iter__") and not hasattr(data, "__getitem__")):
        raise DataError(
            f"{name}: found a {kind}, whose next batch can't be found again after a crash; give a function that "
            "returns a keras.utils.PyDataset, which gives each batch by its index, or a tf.data.Dataset"
        )


def _column(column: pl.Series, name: str) -> Any:
    if nulls := column.null_count():
        raise DataError(f"{name}: column {column.name!r} has {nulls} missing values; fill them, or drop those rows")
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    if isinstance(column.dtype, pl.List):
        return column.to_arrow()
    return column.to_numpy()


def _divided(table: Mapping[str, Any], label: str | None, weight: str | None, name: str) -> tuple[Any, Any, Any]:
    for role, column in (("label", label), ("weight", weight)):
        if column is not None and column not in table:
            raise DataError(f"{name}: {role}={column!r} is no column{nearest(column, table)}")
    if label is None:
        raise DataError(f"{name}: a table needs label=, the name of the column to predict, of {', '.join(table)}")
    features = {column: values for column, values in table.items() if column not in (label, weight)}
    return features, table[label], None if weight is None else table[weight]


def _converted(values: Any, name: str) -> Any:
    """Arrays as a model takes them, in the same dicts and tuples."""
    if isinstance(values, Mapping):
        return {key: _converted(one, f"{name} {key!r}") for key, one in values.items()}
    if isinstance(values, tuple):
        return tuple(_converted(one, f"{name} {place}") for place, one in enumerate(values))
    if isinstance(values, pl.Series):
        return _converted(_column(values, name), name)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return _ragged(values, name)
    array = np.asarray(values)
    if array.ndim == 0 or not array.shape[0]:
        raise DataError(f"{name}: expected an array of at least one example, found shape {array.shape}")
    if array.dtype.kind in "OUST":
        return _texts(array, name)
    if array.dtype.kind not in _KINDS:
        raise DataError(f"{name}: expected numbers or texts, found an array of {array.dtype}")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _texts(array: NDArray[Any], name: str) -> NDArray[Any]:
    wrong = next((value for value in array.ravel() if not isinstance(value, str)), None)
    if wrong is not None or any(value is None for value in array.ravel()):
        raise DataError(
            f"{name}: expected numbers or texts, found an array with a value of type {type(wrong).__name__}; "
            "arrays of several lengths are given as a Polars or Arrow column of lists"
        )
    return array.astype(object)


def _ragged(values: Any, name: str) -> pa.Array:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    kind = array.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return _converted(array.to_numpy(zero_copy_only=False), name)
    if array.null_count or array.flatten().null_count:
        raise DataError(f"{name}: a list is missing, or a value within one; fill them, or drop those rows")
    if not (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)):
        raise DataError(f"{name}: expected lists of numbers, found {kind}")
    inner = pa.float32() if pa.types.is_float64(kind.value_type) else kind.value_type
    return array.cast(pa.large_list(inner))


def _require_one_length(columns: Columns, name: str) -> None:
    lengths = {len(leaf) for part in (columns.features, columns.labels, columns.weights) for leaf in _leaves(part)}
    if len(lengths) > 1:
        raise DataError(f"{name}: expected arrays of one length, found {', '.join(map(str, sorted(lengths)))} examples")


def _leaves(values: Any) -> list[Any]:
    if values is None:
        return []
    if isinstance(values, Mapping | tuple):
        inner: Sequence[Any] = list(values.values()) if isinstance(values, Mapping) else values
        return [leaf for one in inner for leaf in _leaves(one)]
    return [values]


def write_given(columns: Columns, file: Path) -> None:
    """Write the examples as one Arrow file."""
    with pa.OSFile(str(file), "wb") as sink:
        _write(columns, sink)


def given_digest(columns: Columns) -> str:
    """SHA-256 of the file that `write_given` writes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with pa.PythonFile(_Hashed(digest), "w") as sink:
        _write(columns, sink)
    return digest.hexdigest()


class _Hashed(io.RawIOBase):
    """A file that keeps nothing but the digest of what is written."""

    def __init__(self, digest: "hashlib._Hash") -> None:
        super().__init__()
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._digest.update(content)
        return memoryview(content).nbytes


def _write(columns: Columns, sink: Any) -> None:
    parts = [columns.features, columns.labels, columns.weights]
    leaves = _leaves(tuple(part for part in parts if part is not None))
    arrays = [_stored(leaf) for leaf in leaves]
    number = iter(range(len(leaves)))
    described = [None if part is None else _described(part, number) for part in parts]
    schema = pa.schema(
        [pa.field(str(place), array.type) for place, array in enumerate(arrays)],
        metadata={_STRUCTURE: json.dumps(described)},
    )
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))


def read_given(file: Path) -> Columns:
    """The examples of a file that `write_given` wrote; a column of lists is a tf.RaggedTensor."""
    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
        structure = json.loads(table.schema.metadata[_STRUCTURE])
        arrays = [column.combine_chunks() for column in table.columns]
        return Columns(*(_restored(part, arrays) for part in structure))


def _described(values: Any, number: Any) -> Any:
    """Where a part's arrays are in the file, as JSON."""
    if isinstance(values, Mapping):
        return {"dict": [[key, _described(one, number)] for key, one in values.items()]}
    if isinstance(values, tuple):
        return {"tuple": [_described(one, number) for one in values]}
    if isinstance(values, pa.Array):
        return {"ragged": next(number)}
    return {"array": next(number), "shape": list(values.shape[1:]), "is_bool": values.dtype.kind == "b"}


def _stored(array: Any) -> pa.Array:
    if isinstance(array, pa.Array):
        return array
    flat = np.ascontiguousarray(array).reshape(-1)
    values = pa.array(flat, pa.large_string()) if flat.dtype.kind == "O" else pa.array(_bytes_of_bools(flat))
    width = len(flat) // len(array)
    return pa.FixedSizeListArray.from_arrays(values, width)


def _bytes_of_bools(flat: NDArray[Any]) -> NDArray[Any]:
    return flat.view(np.uint8) if flat.dtype.kind == "b" else flat


def _restored(part: Any, arrays: Sequence[pa.Array]) -> Any:
    match part:
        case None:
            return None
        case {"dict": items}:
            return {key: _restored(one, arrays) for key, one in items}
        case {"tuple": items}:
            return tuple(_restored(one, arrays) for one in items)
        case {"ragged": place}:
            import tensorflow as tf

            lists = arrays[place]
            return tf.RaggedTensor.from_row_splits(lists.values.to_numpy(), lists.offsets.to_numpy())
        case {"array": place, "shape": shape, "is_bool": is_bool}:
            lists = arrays[place]
            values = lists.flatten()
            is_text = pa.types.is_large_string(values.type)
            flat = values.to_numpy(zero_copy_only=not is_text)
            return (flat.view(bool) if is_bool else flat).reshape(len(lists), *shape)
    raise DataError(f"expected the description of an array, found {part!r}; another version of Headrace wrote it")
