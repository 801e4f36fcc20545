"""What stands beside predictions in parts: which version makes them, a record of each part, and the manifest of all."""

from typing import Literal

from headrace.components.schema.settings import Settings
from headrace.pipelines.artifacts.artifact import Artifact

MANIFEST = "manifest.json"
_OWN_FOLDER = "_headrace"  # a name that begins with _ is no data by custom
ORIGIN = f"{_OWN_FOLDER}/origin.json"
RECORDS = f"{_OWN_FOLDER}/parts/"


class PartsOrigin(Artifact):
    """Which version makes all parts, of which input; `settings_sha256` is the digest of what else they depend on."""

    format_version: Literal[1] = 1
    pipeline: str
    version: int
    model_sha256: str
    input: str
    settings_sha256: str


class InputFile(Settings):
    """A file that a part is of, as it was read; `version` is the storage's own text for its content, if it has one."""

    name: str
    sha256: str
    version: str | None = None


class PartRecord(Artifact):
    """One part, written after it."""

    format_version: Literal[1] = 1
    part: str
    sha256: str
    rows: int
    inputs: tuple[InputFile, ...]


class PartsManifest(PartsOrigin):
    """All parts, written last: where there is one, the predictions are whole."""

    rows: int
    parts: tuple[PartRecord, ...]


def record_key(part: str) -> str:
    """Where the record of a part is."""
    return f"{RECORDS}{part}.json"


def model_key(sha256: str) -> str:
    """Where the model is for nodes that do not share the driver's disk, while they predict."""
    return f"{_OWN_FOLDER}/{sha256}.keras"
