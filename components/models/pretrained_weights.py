"""Weights that a model of a file starts from: a file, or the folder of a KerasHub preset, made elsewhere."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag

from headrace.components.errors import DataError
from headrace.components.sources.file import SourceFile

ARGUMENT = "weights"  # of the function that makes the model
_STARTS = {".h5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"), ".keras": (b"PK\x03\x04", "a zip archive")}
_CONFIG = "config.json"  # of every preset


def _weights_name(name: str) -> str:
    if PurePosixPath(name).suffix not in _STARTS:
        raise ValueError(
            f"expected a file of weights that ends in .weights.h5, .h5 or .keras, found {name!r}; other formats may "
            "hold code"
        )
    return name


def project_path(path: str) -> str:
    """The path, of weights inside of a project; raises ValueError for one that is none."""
    place = PurePosixPath(path)
    if not place.parts or place.is_absolute() or ".." in place.parts or place.as_posix() != path:
        raise ValueError(
            f"expected a path inside the project, such as weights/small.weights.h5, found {path!r}; give a file from "
            "elsewhere as a section of name, url and sha256"
        )
    return _weights_name(path) if place.suffix else path


class WeightsFile(SourceFile):
    """A file of weights to fetch, pinned by its content."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), AfterValidator(_weights_name)]
    """Name of the file in `$HEADRACE_MIRROR/weights`. Keras takes its format from the end: `.weights.h5` and `.keras`
    are Keras 3's, any other `.h5` is that of Keras 2 and of `keras.applications`.
    """

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Checksum that the content must have."""


def _is_section(value: Any) -> str:
    return "(section)" if isinstance(value, dict | WeightsFile) else "(path)"


PretrainedWeights = Annotated[
    Annotated[Annotated[str, AfterValidator(project_path)], Tag("(path)")] | Annotated[WeightsFile, Tag("(section)")],
    Discriminator(_is_section),
]


def is_preset(weights: str | WeightsFile) -> bool:
    """Whether the weights are a folder, of a KerasHub preset."""
    return isinstance(weights, str) and not PurePosixPath(weights).suffix


def require_weights(path: Path) -> None:
    """Raise DataError unless `path` is a file of its format, or the folder of a preset; its arrays are not read."""
    if path.is_dir():
        if not (path / _CONFIG).is_file():
            raise DataError(f"{path}: expected the folder of a KerasHub preset, found no {_CONFIG} in it")
        return
    expected, format_ = _STARTS[path.suffix]
    with path.open("rb") as stream:
        start = stream.read(len(expected))
    if start != expected:
        raise DataError(f"{path}: expected {format_}, as Keras writes weights, found {start!r} at its start")
