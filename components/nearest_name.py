"""A name that is nearly right: the valid one that was probably meant."""

import difflib
from typing import Any


def nearest(name: str, valid: Any, *, shown: Any = None) -> str:
    """The end of an error: "; did you mean ...?" for a name that is nearly right, or else all valid names.

    `shown` are names to give instead of all, where they are many.
    """
    found = difflib.get_close_matches(name, [str(one) for one in valid], n=1, cutoff=0.5)
    if found:
        return f"; did you mean {found[0]!r}?"
    return f"; valid names: {', '.join(map(str, sorted(valid if shown is None else shown)))}"
