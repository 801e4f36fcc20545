"""Files of a folder or bucket that fit a pattern."""

import re
from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field, model_validator

from headrace.components.schema.settings import Settings

_EXPRESSIONS = {
    "{date}": "(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})",
    "{hour}": "(?P<hour>[0-9]{2})",
    # No name that begins with . or _: by custom, one that is not whole yet.
    "*": r"(?!(?<![^/])[._])[^/]*",
    "**/": r"(?:[^/._][^/]*/)*",
}


class FileSet(Settings):
    """All files below a folder, or the prefix of a bucket, that fit `pattern`, in the order of their paths.

    A name that begins with `.` or `_` fits no `*`.
    """

    root: Annotated[str, Field(min_length=1)]
    """A folder or `s3://BUCKET/PREFIX`. A relative folder is below the project's root, or below
    `$HEADRACE_MIRROR/<dataset>` where that is set.
    """

    pattern: str = "**/*"
    """Which files below `root`: `*` is any text without `/`, `**/` any number of folders."""

    @model_validator(mode="after")
    def _pattern_is_a_path(self) -> Self:
        if re.match(r"(?!s3://.)\w+:", self.root):
            raise ValueError(f"root {self.root!r} must be a folder or s3://BUCKET/PREFIX")
        if re.search(r"[{}]", self.pattern):
            raise ValueError(f"pattern {self.pattern!r} has braces: only partitions have a {{date}}")
        require_below_root(self.pattern, name="pattern")
        return self


def require_below_root(path: str, *, name: str) -> None:
    """Raise ValueError for a pattern that may lead out of its root, or is none; `name` is its setting's."""
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{name} {path!r} must be a path below root, as in date={{date}}/*.csv")
    if "**" in re.sub(r"(?<![^/])\*\*/", "", path):
        raise ValueError(f"{name} {path!r}: ** stands for whole folders only, as in **/*.csv")


def matching_files(keys: Iterable[str], *, pattern: str) -> list[str]:
    """Keys that fit the pattern of a file set, sorted."""
    expression = re.compile(regular_expression(pattern))
    return sorted(key for key in keys if expression.fullmatch(key))


def regular_expression(pattern: str) -> str:
    """Regular expression of a pattern; `{date}` and `{hour}` of partitions become groups of these names."""
    pieces = re.split(r"(\{date\}|\{hour\}|\*\*/|\*)", pattern)
    names = "".join(_EXPRESSIONS.get(piece, re.escape(piece)) for piece in pieces)
    return f"{names}(?<!/)"  # a bucket may hold an empty object for a folder
