"""What the JSON files of the artifact tree have in common: a format version, reading, writing, and file digests."""

import json
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, ValidationError

from headrace.components.errors import DataError
from headrace.components.files import digests
from headrace.components.files.atomic import replace_file
from headrace.components.schema.settings import Settings

T = TypeVar("T")
Omittable = Annotated[T | None, Field(exclude_if=lambda value: value is None)]  # not in the file where there is none


class Artifact(Settings):
    """One JSON file. Its `format_version` defaults to the present one, which a change of the fields raises."""

    unversioned: ClassVar[int | None] = None  # the version of files that name none

    format_version: int


A = TypeVar("A", bound=Artifact)


def read_artifact(file: Path, kind: type[A], *, command: str) -> A:
    """Content of a JSON file that `command` writes; raises DataError where it is missing, damaged or of old format."""
    again = f"`{command}` writes it"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"can't read {file}: {error.strerror}; {again}") from error
    except ValueError as error:
        raise DataError(f"{file} is damaged: {error}; {again} again") from error
    expected = kind.model_fields["format_version"].default
    found = content.get("format_version", kind.unversioned) if isinstance(content, dict) else None
    if found != expected:
        raise DataError(
            f"{file}: expected format_version {expected}, found {'none' if found is None else found}: "
            f"another version of Headrace wrote it; {again} again"
        )
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise DataError(f"{file} is damaged: {place}: {problem['msg']}; {again} again") from error


def write_artifact(file: Path, artifact: Artifact) -> None:
    """Write the file whole."""
    with replace_file(file) as temporary:
        temporary.write_text(text_of(artifact), encoding="utf-8")


def text_of(artifact: Artifact) -> str:
    """The file's text."""
    return artifact.model_dump_json(indent=2) + "\n"


def file_digest(file: Path, algorithm: str = "sha256") -> str:
    """Digest of a file's content in hexadecimal digits; raises DataError where it can't be read.

    Read whole each time, unlike `sha256_of` in `fetching/fetch.py`: who swaps a file may keep its size and time.
    """
    try:
        return digests.file_digest(file, algorithm)
    except OSError as error:
        raise DataError(f"can't read {file}: {error.strerror}") from error
