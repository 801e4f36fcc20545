"""Modules imported from their text. This file is copied into MLflow models, so it may import nothing of Headrace."""

import builtins
import importlib
import importlib.abc
import importlib.machinery
import linecache
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any

_LOCK = threading.RLock()  # a server calls a model from several threads, whose functions may import as they are called


@contextmanager
def importable_texts(sources: Mapping[str, str]) -> Iterator[None]:
    """Let imports find Python files by their path in a project, and Keras the classes that they register, in the block.

    A file is run once in a process; other versions of it are modules apart. What a function of these files imports as
    it is called is found after the block, too.
    """
    key = tuple(sorted(sources.items()))
    with _LOADED.setdefault(key, _Loaded(sources)).active():
        yield


def import_file(file: str) -> ModuleType:
    """The module of a file, by its path in the project; to be called within `importable_texts`."""
    with _LOCK:
        return importlib.import_module(_module_name(file))


class _Loaded:
    """The modules of some sources; in `sys.modules`, and their classes in Keras's registry, only while active."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._finder = _Finder(sources, self.active)
        self._modules: dict[str, ModuleType] = {}
        self._registered: dict[str, Any] = {}
        self._depth = 0

    @contextmanager
    def active(self) -> Iterator[None]:
        with _LOCK:
            if self._depth == 0:
                self._enter()
            self._depth += 1
        try:
            yield
        finally:
            with _LOCK:
                self._depth -= 1
                if self._depth == 0:
                    self._leave()

    def _enter(self) -> None:
        self._shadowed = {name: sys.modules.pop(name) for name in self._finder.names if name in sys.modules}
        sys.modules.update(self._modules)
        sys.meta_path.insert(0, self._finder)
        self._registered_before = dict(_registry()) if "keras" in sys.modules else {}
        if self._registered:
            _registry().update(self._registered)

    def _leave(self) -> None:
        sys.meta_path.remove(self._finder)
        self._modules = {name: sys.modules.pop(name) for name in self._finder.names if name in sys.modules}
        sys.modules.update(self._shadowed)
        if "keras" in sys.modules:
            found = [name for name, one in _registry().items() if getattr(one, "__module__", None) in self._modules]
            self._registered = {name: _registry().pop(name) for name in found}
            # A program may have the same file as a module of its own, which has registered its classes, too.
            before = {name: one for name, one in self._registered_before.items() if name in found}
            _registry().update(before)


_LOADED: dict[tuple[tuple[str, str], ...], _Loaded] = {}


def _registry() -> dict[str, Any]:
    """Keras's registered classes, once the code has imported it: sources of rows do without."""
    objects: dict[str, Any] = sys.modules["keras"].saving.get_custom_objects()
    return objects


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules from their text; a folder without `__init__.py` is a package, as it is on disk."""

    def __init__(self, sources: Mapping[str, str], active: Callable[[], AbstractContextManager[None]]) -> None:
        self._active = active
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
            # For statements that are reached later, within a function: `exec` keeps builtins that are there.
            module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
            exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102 - the user's own code

    def _import(self, *arguments: Any, **keywords: Any) -> ModuleType:
        with _LOCK, self._active():
            return builtins.__import__(*arguments, **keywords)


def _module_name(file: str) -> str:
    """`models.churn` of `models/churn.py`, `models` of `models/__init__.py`."""
    path = PurePosixPath(file).with_suffix("")
    return ".".join(path.parent.parts if path.name == "__init__" else path.parts)
