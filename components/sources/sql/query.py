"""The file of a query: one statement, and where it names the bounds of an interval."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from headrace.components.errors import ParamsError
from headrace.components.own_code.imported_files import read_project_text

PARAMETERS = ("interval_start", "interval_end")

# What may hold a colon or semicolon that means nothing, then what means something. Comments within comments, which only
# PostgreSQL has, end at the first mark here: the database refuses what is left.
_TOKEN = re.compile(
    r"""
    --[^\n]* | /\*.*?\*/
    | (?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*`
    | (?<![\w$])\$(?P<tag>[A-Za-z_]\w*|)\$.*?\$(?P=tag)\$
    | ::
    | :(?P<parameter>interval_(?:start|end))\b
    | (?P<end>;)
    """,
    re.VERBOSE | re.DOTALL,
)
_NOTHING = re.compile(r"(?:\s|--[^\n]*|/\*.*?\*/)*", re.DOTALL)


def _sql_file(path: str) -> str:
    place = PurePosixPath(path)
    if place.is_absolute() or ".." in place.parts or place.suffix != ".sql" or place.as_posix() != path:
        raise ValueError(
            f"expected the path of a .sql file inside the project, such as queries/crm.sql, found {path!r}"
        )
    return path


SqlFile = Annotated[str, AfterValidator(_sql_file)]


@dataclass(frozen=True)
class Query:
    """One statement without the semicolon at its end; lines are those of the file."""

    file: str
    text: str

    @classmethod
    def read(cls, root: Path, file: str) -> "Query":
        """The statement of a file of the project; raises ParamsError for a file that can't be read, none or several."""
        text = read_project_text(root, PurePosixPath(file), language="SQL")
        statement, rest = text, ""
        for token in _TOKEN.finditer(text):
            if token["end"]:
                statement, rest = text[: token.start()], text[token.end() :]
                break
        if _NOTHING.fullmatch(statement) or "\0" in text:
            raise ParamsError(f"{file}: expected one SELECT, found no statement")
        if not _NOTHING.fullmatch(rest):
            line = text.count("\n", 0, len(text) - len(rest.lstrip())) + 1
            raise ParamsError(f"{file}:{line}: expected one SELECT, found a second statement; give each query a file")
        return cls(file, statement)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Those of `interval_start` and `interval_end` that the query names."""
        found = {token["parameter"] for token in _TOKEN.finditer(self.text)}
        return tuple(name for name in PARAMETERS if name in found)

    def with_parameters(self, replacements: Mapping[str, str]) -> str:
        """The statement with another expression for each parameter; a comment at its end does not reach further."""
        return _TOKEN.sub(lambda token: replacements.get(token["parameter"] or "", token[0]), self.text) + "\n"

    def at_line(self, line: int | None) -> str:
        """File, and line from 1 where it is known."""
        return self.file if line is None else f"{self.file}:{line}"
