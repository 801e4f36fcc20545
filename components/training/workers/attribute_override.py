"""Attributes set on single objects for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Override = tuple[Any, str, Any]  # object, attribute, value
_ABSENT = object()


@contextmanager
def overridden(*overrides: Override) -> Iterator[None]:
    """Set attributes of these very objects, never of their classes, for the length of the block."""
    before = [(owner, name, vars(owner).get(name, _ABSENT)) for owner, name, _ in overrides]
    for owner, name, value in overrides:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
