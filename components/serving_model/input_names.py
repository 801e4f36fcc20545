"""Names that programs in any language can give a model's inputs, for columns that are called as people like."""

import keyword
import re
import unicodedata
from collections.abc import Sequence

_LONGEST = 64
_TAKEN = {"self", "output_0"}
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "œ": "oe"})


def input_names(columns: Sequence[str]) -> dict[str, str]:
    """Return a name for each column: letters of ASCII, digits and _, at most 64, no two alike but for case.

    A column whose name is one already keeps it. The others get what is left of theirs, with a number where that is
    taken: `größe {m}` is `grosse_m`, and `(€)` is `input`.
    """
    kept = {column for column in columns if _is_name(column)}
    clashing = {column for column in kept if sum(column.casefold() == other.casefold() for other in kept) > 1}
    kept -= clashing
    taken = {column.casefold() for column in kept}
    names = {}
    for column in columns:
        name = column if column in kept else _unique(_cleaned(column), taken)
        taken.add(name.casefold())
        names[column] = name
    return names


def _is_name(text: str) -> bool:
    is_word = re.fullmatch(rf"[A-Za-z_][A-Za-z0-9_]{{0,{_LONGEST - 1}}}", text) is not None
    return is_word and not keyword.iskeyword(text) and text.casefold() not in _TAKEN


def _cleaned(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.translate(_LETTERS)).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:_LONGEST]
    if not name:
        return "input"
    return name if _is_name(name) else f"input_{name}"[:_LONGEST]


def _unique(name: str, taken: set[str]) -> str:
    number, unique = 1, name
    while unique.casefold() in taken:
        number += 1
        unique = f"{name[: _LONGEST - 8]}_{number}"
    return unique
