"""The .keras file: the same bytes for the same model, and checked before Keras reads it.

Keras's format is a zip archive of stored (uncompressed) members: config.json, metadata.json, model.weights.h5, and
sometimes assets/, where code of the project's own that the model needs is kept, as text. A file may come from a
registry, so its author is not trusted: sizes are checked before anything is extracted or built, and no link in it is
followed.
"""

import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np

from headrace.components.errors import DataError

CONFIG, METADATA, WEIGHTS, ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets"
OWN_CODE = f"{ASSETS}/own_code/"  # files of the project's own that make the model's classes
MOST_CONFIG_BYTES = 1 << 26
_MOST_REASON_CHARACTERS = 300
_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class KerasFile:
    """The contents of a .keras file whose members are as Keras writes them."""

    config: dict[str, Any]
    weights: bytes  # an HDF5 file
    sources: Mapping[str, str] = field(default_factory=dict)  # of the project's own code, by path


def write_keras_file(model: Any, path: Path, *, sources: Mapping[str, str] = MappingProxyType({})) -> None:
    """Save a Keras model, with the `sources` it needs, so that equal models give equal files: no dates, no addresses.

    Names that Keras generates, such as dense_3, count the layers of a process; build the model after
    `keras.utils.clear_session()` where the names have to be equal, too.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        saved = Path(folder) / "model.keras"
        model.save(saved)
        with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as archive:
            for name in sorted(source.namelist()):
                member = zipfile.ZipInfo(name)  # dated 1980-01-01
                member.create_system = 3  # Unix, wherever it is written
                if name in _NORMALIZED:
                    archive.writestr(member, _NORMALIZED[name](source.read(name)))
                    continue
                member.file_size = source.getinfo(
                    name
                ).file_size  # so that the archive knows whether 32 bits are enough
                with source.open(name) as content, archive.open(member, "w") as target:
                    shutil.copyfileobj(content, target)
            for name, text in sorted(sources.items()):
                member = zipfile.ZipInfo(f"{OWN_CODE}{name}")
                member.create_system = 3
                archive.writestr(member, text.encode())


def read_keras_file(path: Path) -> KerasFile:
    """Contents of a .keras file; raises DataError for a file that Keras has not written or that is damaged."""
    with refusing(path):
        _require_zip(path)
        with zipfile.ZipFile(path) as archive:
            config = _config(archive, size_bytes=path.stat().st_size)
            own = [name for name in archive.namelist() if name.startswith(OWN_CODE)]
            sources = {name.removeprefix(OWN_CODE): archive.read(name).decode() for name in own}
            return KerasFile(config, archive.read(WEIGHTS), sources)


def read_config(path: Path) -> dict[str, Any]:
    """Configuration of the model in a .keras file, without its weights; raises DataError as `read_keras_file` does."""
    with refusing(path):
        _require_zip(path)
        with zipfile.ZipFile(path) as archive:
            return _config(archive, size_bytes=path.stat().st_size)


def weights_digest(path: Path) -> str:
    """SHA-256 over the names, types, shapes and bytes of a model's weights, whatever else the file holds."""
    file = read_keras_file(path)
    digest = hashlib.sha256()
    with refusing(path):
        for name, array in stored_arrays(file.weights):
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array[()]).data)
    return digest.hexdigest()


def stored_arrays(weights: bytes) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the name and dataset of each array, in order of their names.

    Raises ValueError for what Keras does not write: links, references, and arrays that are declared larger than stored.
    """
    with h5py.File(io.BytesIO(weights), "r") as file:
        links: list[tuple[str, Any]] = []
        file.visititems_links(lambda name, link: links.append((name, link)))
        left_bytes = len(weights)
        for name, link in sorted(links, key=itemgetter(0)):
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{name} in {WEIGHTS} is a link to elsewhere ({type(link).__name__})")
            if not isinstance(entry := file[name], h5py.Dataset):
                continue
            if entry.is_virtual or entry.external or entry.chunks or entry.dtype.kind not in "biuf":
                raise ValueError(f"{name} in {WEIGHTS} is no plain array of numbers (type {entry.dtype})")
            left_bytes -= entry.nbytes
            if entry.id.get_storage_size() != entry.nbytes or left_bytes < 0:
                raise ValueError(f"{name} in {WEIGHTS} declares {entry.nbytes} bytes and does not store them")
            yield name, entry


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Raise DataError, in one line, for whatever a file that is no model of Keras's makes the block raise."""
    try:
        yield
    except DataError:
        raise
    except RecursionError as error:
        raise DataError(f"can't load the model {path}: {CONFIG} is nested too deep") from error
    except Exception as error:
        raise DataError(f"can't load the model {path}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """First line of the first error: Keras wraps it once for each layer around, and shows whole configs."""
    while error.__context__ is not None:
        error = error.__context__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:_MOST_REASON_CHARACTERS]


def _require_zip(path: Path) -> None:
    with path.open("rb") as stream:
        start = stream.read(len(_HDF5))
    if not start:
        raise ValueError("the file is empty")
    if start == _HDF5:
        raise ValueError("expected a .keras file (a zip archive), found HDF5; save the model as .keras with Keras 3")
    if not start.startswith(_ZIP):
        raise ValueError(f"expected a .keras file (a zip archive), found {start!r} at its start")
    if not zipfile.is_zipfile(path):
        size_bytes = path.stat().st_size
        raise ValueError(f"the file is truncated: its {size_bytes} bytes lack a zip archive's end; fetch it again")


def _config(archive: zipfile.ZipFile, *, size_bytes: int) -> dict[str, Any]:
    _require_members(archive, size_bytes=size_bytes)
    config = json.loads(archive.read(CONFIG), object_hook=_allowed)
    if not isinstance(config, dict):
        raise ValueError(f"expected an object in {CONFIG}, found {type(config).__name__}")
    return config


def _require_members(archive: zipfile.ZipFile, *, size_bytes: int) -> None:
    """Stored members of known names, each once, that take no more bytes than the file has."""
    members = archive.infolist()
    names = [member.filename for member in members]
    if missing := {CONFIG, WEIGHTS} - set(names):
        raise ValueError(f"expected a .keras file, found an archive without {' and '.join(sorted(missing))}")
    if len(set(names)) < len(names):
        raise ValueError("a member is in the archive twice")
    for member in members:
        parts = member.filename.split("/")
        is_asset = parts[0] == ASSETS and not any(part in ("", ".", "..") or "\\" in part for part in parts)
        if not is_asset and member.filename not in (CONFIG, METADATA, WEIGHTS):
            raise ValueError(f"expected only members that Keras writes, found {member.filename!r}")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise ValueError(f"expected stored members, as Keras writes them, found {member.filename!r} packed")
    if sum(member.file_size for member in members) > size_bytes:
        raise ValueError(f"the archive's members declare more than its {size_bytes} bytes")
    if archive.getinfo(CONFIG).file_size > MOST_CONFIG_BYTES:
        raise ValueError(f"{CONFIG} is larger than {MOST_CONFIG_BYTES} bytes")


def _allowed(entry: dict[str, Any]) -> dict[str, Any]:
    """An object of config.json, unless building it takes memory of a size that the file only names."""
    if entry.get("class_name") == "__numpy__" and np.dtype(entry["config"]["dtype"]).itemsize > 16:
        raise ValueError(f"expected arrays of numbers in {CONFIG}, found type {entry['config']['dtype']!r}")
    for node in entry.get("inbound_nodes", ()):
        if isinstance(node, dict) and '"__keras_tensor__"' not in json.dumps(node):  # it would run as it is built
            raise ValueError(f"layer {entry.get('name')!r} is called without an input")
    return entry


def _normalized_config(content: bytes) -> bytes:
    """Memory addresses, by which Keras knows an object again, replaced by numbers in order of appearance."""
    numbers: dict[int, int] = {}

    def numbered(entry: dict[str, Any]) -> dict[str, Any]:
        if "shared_object_id" in entry:
            entry["shared_object_id"] = numbers.setdefault(entry["shared_object_id"], len(numbers))
        return entry

    return json.dumps(json.loads(content, object_hook=numbered)).encode()


def _normalized_metadata(content: bytes) -> bytes:
    metadata = json.loads(content)
    metadata.pop("date_saved", None)
    return json.dumps(metadata).encode()


_NORMALIZED = {CONFIG: _normalized_config, METADATA: _normalized_metadata}
