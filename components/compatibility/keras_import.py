"""Keras without the packages that it imports in case someone wants them: scikit-learn, pandas, IPython, Matplotlib."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

OPTIONAL = ("sklearn", "pandas", "IPython", "matplotlib")  # not rich: without it, TensorFlow hides an ImportError


class _Absent(MetaPathFinder):
    """Finds nothing, and says of some packages that they are not installed."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in OPTIONAL:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def import_keras() -> None:
    """Import Keras, for a process that trains or calls models: the other packages would take seconds of it.

    They can be imported as usual afterwards. Keras's own wrappers of them, and data frames as inputs of `fit`, need
    `import keras` instead. Nothing is done where Keras was imported before.
    """
    if "keras" not in sys.modules:
        with _without_optional_packages():
            import keras  # noqa: F401


@contextmanager
def _without_optional_packages() -> Iterator[None]:
    finder = _Absent()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
