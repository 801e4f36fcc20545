"""Which code that comes with a model may run: what this project holds, or held."""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.components.errors import ServiceError
from headrace.components.files.atomic import replace_file
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.command_lines import git

if TYPE_CHECKING:
    from headrace.components.serving_model.saved_model import MayRun


def code_of_project(root: Path) -> "MayRun":
    """Accepts code whose every file is in the project as it is now, was trained here, or is in git's history.

    A registry or a storage may be written by people who may not run code where models are evaluated and served; a
    commit of the project is made by people who may.
    """
    return partial(_is_of_project, root)


def remember(root: Path, sources: Mapping[str, str]) -> None:
    """Keep what a training runs, so that its model is accepted after the files change, committed or not."""
    for text in sources.values():
        place = _remembered(root, text)
        if not place.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            with replace_file(place) as file:
                file.write_text(text, encoding="utf-8")


def _is_of_project(root: Path, sources: Mapping[str, str]) -> bool:
    unknown = [
        text
        for path, text in sources.items()
        if not (_is_present(root / path, text) or _is_present(_remembered(root, text), text))
    ]
    return not unknown or _are_in_git(root, unknown)


def _remembered(root: Path, text: str) -> Path:
    return ProjectPaths(root).trained_code / f"{hashlib.sha256(text.encode()).hexdigest()}.py"


def _is_present(file: Path, text: str) -> bool:
    try:
        return file.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _are_in_git(root: Path, texts: list[str]) -> bool:
    """Whether git's objects have a file of each text, whatever its name was."""
    try:
        return all(git(root, "cat-file", "-t", _blob(text.encode())).strip() == "blob" for text in texts)
    except ServiceError:
        return False


def _blob(content: bytes) -> str:
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
