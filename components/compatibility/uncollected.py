"""Imports of large libraries without Python's search for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Search for no garbage inside the block, and never among the objects that exist at its end.

    A library's modules are hundreds of thousands of objects that all stay. Each full search goes through them: a tenth
    of the processor time of `headrace evaluate`. Only for imports before data is read: what is in a cycle of
    references at the end of the block is never freed.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
