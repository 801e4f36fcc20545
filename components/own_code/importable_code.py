"""Code of the user's own as a value: what is imported, shipped, digested and kept with a model."""

import hashlib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from headrace.components.errors import ParamsError
from headrace.components.own_code.imported_files import imports, read_sources
from headrace.components.own_code.text_modules import import_file, importable_texts

HUB, HUB_MODULE = "keras-hub", "keras_hub"
HUB_MISSING = "needs KerasHub, which is not installed: pip install 'headrace[hub]'"
_MOST_REASON_CHARACTERS = 600


class OwnCode:
    """The sources of some Python files by their path in a project, importable without the project.

    A training runs the code that it was started with, although files change meanwhile. Two versions of one file can be
    in use in one process: each is imported apart from the other.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = dict(sorted(sources.items()))

    @classmethod
    def of(cls, root: Path, files: Sequence[str]) -> "OwnCode":
        """The files, and what they import inside the project at `root`; raises ParamsError as `read_sources` does."""
        sources: dict[str, str] = {}
        for file in files:
            sources |= read_sources(root, file)
        return cls(sources)

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each file's text, by path, in hexadecimal digits."""
        return {path: hashlib.sha256(text.encode()).hexdigest() for path, text in self.sources.items()}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all files with their paths, in hexadecimal digits."""
        return hashlib.sha256(repr(sorted(self.digests.items())).encode()).hexdigest()

    @cached_property
    def packages(self) -> tuple[str, ...]:
        """Optional packages that this code imports, and that decide its results: KerasHub, or none."""
        uses_hub = any(imports(text, path, HUB_MODULE) for path, text in self.sources.items())
        return (HUB,) if uses_hub else ()

    def function(self, file: str, name: str) -> Any:
        """A function or class of a file, to be called within `importable`.

        Raises ParamsError, with file and line, where the import fails or there is no such name.
        """
        with self.importable(), self.errors_named():
            module = import_file(file)
        found = getattr(module, name, None)
        if not callable(found):
            raise ParamsError(f"{file}: no function or class {name!r}")
        return found

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Let imports find these files, and Keras the classes that they register, within the block.

        Whatever builds or loads by this code belongs into such a block.
        """
        with importable_texts(self.sources):
            yield

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Raise ParamsError with file, line and reason for what this code raises in the block; other errors pass.

        A SystemExit of this code is such an error: the command would end with its exit code, as if it had done its
        work. What a signal raises passes.
        """
        try:
            yield
        except (ParamsError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if (place := self.place_of(error)) is None:
                raise
            if isinstance(error, ModuleNotFoundError) and error.name == HUB_MODULE:
                raise ParamsError(f"{place}: {HUB_MISSING}") from error
            reason = _text(error)
            raise ParamsError(f"{place}: {type(error).__name__}{f': {reason}' if reason else ''}") from error

    def place_of(self, error: BaseException) -> str | None:
        """Path and line of the innermost call within these files that an error came through; None for no such call."""
        frames = traceback.extract_tb(error.__traceback__)
        return next((f"{one.filename}:{one.lineno}" for one in reversed(frames) if one.filename in self.sources), None)


def _text(error: BaseException) -> str:
    """What an error says, on one line, cut short where it is long: Keras lists every layer of a model."""
    try:
        said = str(error)
    except Exception as failure:  # noqa: BLE001 - of a class of the user's own, whose place is reported in any case
        said = f"its text can't be made: {type(failure).__name__}"
    return " ".join(said.split())[:_MOST_REASON_CHARACTERS]


NO_CODE = OwnCode({})
