"""Code of the user's own as a value: what is imported, shipped, digested and kept with a model."""

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import linecache
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from headrace.components.errors import ParamsError
from headrace.components.own_code.imported_files import read_sources


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

        Whatever calls the code belongs into such a block: a function may import as it runs.
        """
        with _loaded(self.digest, self.sources).active():
            yield

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Raise ParamsError with file, line and reason for what this code raises in the block; other errors pass."""
        try:
            yield
        except ParamsError:
            raise
        except Exception as error:
            if (place := self.place_of(error)) is None:
                raise
            reason = " ".join(str(error).split())
            raise ParamsError(f"{place}: {type(error).__name__}{f': {reason}' if reason else ''}") from error

    def place_of(self, error: BaseException) -> str | None:
        """Path and line of the innermost call within these files that an error came through; None for no such call."""
        frames = traceback.extract_tb(error.__traceback__)
        return next((f"{one.filename}:{one.lineno}" for one in reversed(frames) if one.filename in self.sources), None)


def import_file(file: str) -> ModuleType:
    """The module of a file, by its path in the project; to be called within `importable`."""
    return importlib.import_module(_module_name(file))


_LOADED: dict[str, "_Loaded"] = {}


def _loaded(digest: str, sources: Mapping[str, str]) -> "_Loaded":
    return _LOADED.setdefault(digest, _Loaded(sources))


class _Loaded:
    """The modules of some sources; in `sys.modules`, and their classes in Keras's registry, only while active."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._finder = _Finder(sources)
        self._modules: dict[str, ModuleType] = {}
        self._registered: dict[str, Any] = {}
        self._depth = 0

    @contextmanager
    def active(self) -> Iterator[None]:
        if self._depth == 0:
            self._enter()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._leave()

    def _enter(self) -> None:
        self._shadowed = {name: sys.modules.pop(name) for name in self._finder.names if name in sys.modules}
        sys.modules.update(self._modules)
        sys.meta_path.insert(0, self._finder)
        if self._registered:
            _registry().update(self._registered)

    def _leave(self) -> None:
        sys.meta_path.remove(self._finder)
        self._modules = {name: sys.modules.pop(name) for name in self._finder.names if name in sys.modules}
        sys.modules.update(self._shadowed)
        if "keras" in sys.modules:
            found = [name for name, one in _registry().items() if getattr(one, "__module__", None) in self._modules]
            self._registered = {name: _registry().pop(name) for name in found}


def _registry() -> dict[str, Any]:
    """Keras's registered classes, once the code has imported it: sources of rows do without."""
    objects: dict[str, Any] = sys.modules["keras"].saving.get_custom_objects()
    return objects


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules from their text; a folder without `__init__.py` is a package, as it is on disk."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._files = {_module_name(path): path for path in sources}
        self._sources = sources
        packages = {
            ".".join(name.split(".")[:length]) for name in self._files for length in range(1, name.count(".") + 1)
        }
        packages |= {name for name, path in self._files.items() if path.endswith("/__init__.py")}
        self._packages = packages
        self.names = sorted({*self._files, *packages})

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the protocol's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """The specification of one of the modules; None for all others."""
        if fullname not in self.names:
            return None
        file = self._files.get(fullname, "")
        is_package = fullname in self._packages
        return importlib.machinery.ModuleSpec(fullname, self, origin=file or None, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        """Run the file's text; a traceback shows its lines."""
        file = self._files.get(module.__name__)
        if file is not None:
            text = self._sources[file]
            linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
            exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102 - the user's own code


def _module_name(file: str) -> str:
    """`models.churn` of `models/churn.py`, `models` of `models/__init__.py`."""
    path = PurePosixPath(file).with_suffix("")
    return ".".join(path.parent.parts if path.name == "__init__" else path.parts)
