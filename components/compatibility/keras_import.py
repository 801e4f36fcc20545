"""Keras without the packages that it imports in case someone wants them: scikit-learn, pandas, IPython, Matplotlib."""

import sys

from headrace.components.compatibility.absent_packages import absent
from headrace.components.compatibility.uncollected import uncollected

OPTIONAL = ("sklearn", "pandas", "IPython", "matplotlib")  # not rich: without it, TensorFlow hides an ImportError


def import_keras() -> None:
    """Import Keras, for a process that trains or calls models: the other packages would take seconds of it.

    They can be imported as usual afterwards. Keras's own wrappers of them, and data frames as inputs of `fit`, need
    `import keras` instead. Nothing is done where Keras was imported before, as TensorFlow does.
    """
    if "keras" not in sys.modules:
        with absent(*OPTIONAL), uncollected():
            import keras  # noqa: F401
