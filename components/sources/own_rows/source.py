"""Rows that a function of the project's own gives: settings, and how they are written and read."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from headrace.components.errors import ParamsError
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.own_code.named_code import FunctionName, PythonFile
from headrace.components.own_code.signature import Signature, checked_arguments, require_function
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources.partitions import Interval
from headrace.components.sources.raw_files import OwnRows, RawFiles
from headrace.components.sources.written_rows import ROWS_FILE, Sha256, WrittenRowsSource, require_rows, write_rows

BOUNDS = ("start", "end")


class PythonSource(WrittenRowsSource):
    """Rows that a function of a file of the project gives, batch by batch."""

    kind: Literal["python"] = "python"
    file: PythonFile
    """Path of a Python file in the project. What it imports inside the project belongs to it."""

    function: FunctionName = "rows"
    """Function `(*, start, end, **arguments)` of that file that yields batches of rows: each a `polars.DataFrame`,
    `pyarrow.Table` or `pyarrow.RecordBatch`. It takes `start` and `end` only if its rows are those of an interval.
    """

    arguments: dict[FunctionName, Any] = Field(default={})
    """Arguments of the function by name, checked against its annotations."""

    interval: Interval | None = None
    """The times that the function gets as `start` and `end`, with a zone; `null` passes neither. A scheduled DAG run
    sets its own data interval here, if the function takes both.
    """

    sha256: Sha256 | None = None
    """Checksum that `data/<pipeline>/raw/rows.parquet` must have; other rows are refused. `ingest.json` has that of the
    last run.
    """

    @model_validator(mode="after")
    def _bounds_are_those_of_the_interval(self) -> Self:
        if given := [name for name in BOUNDS if name in self.arguments]:
            raise ValueError(
                f"arguments.{given[0]}: start and end are the interval's; set interval, or name it otherwise"
            )
        return self

    def raw_files(self, schema: ExampleSchema) -> Sequence[RawFiles]:
        """One file of all rows."""
        return [OwnRows(ROWS_FILE, self.write)]

    def is_by_interval(self, root: Path) -> bool:
        """Whether the function takes `start` and `end`."""
        return self._signature(OwnCode.of(root, [self.file])).takes(*BOUNDS)

    def code(self, root: Path) -> OwnCode:
        """The file with what it imports inside the project at `root`, read and checked without running it.

        Raises ParamsError for a file that is not there, leads out of the project or is not Python, and for a function
        that it does not define, or that can't be called as it is going to be. A function that needs an interval is
        accepted without one, because a DAG run has its own.
        """
        code = OwnCode.of(root, [self.file])
        signature = self._signature(code)
        bounds = BOUNDS if self.interval else [name for name in BOUNDS if name in signature.names]
        arguments = [*self.arguments, *bounds]
        require_function(code.sources, self.file, self.function, given=(), arguments=arguments)
        return code

    def missing_interval(self, code: OwnCode) -> str | None:
        """What to do about a function that needs an interval where there is none; None for all others."""
        signature = self._signature(code)
        needed = [name for name in BOUNDS if name in signature.required and not self.interval]
        if not needed:
            return None
        return (
            f"{self.file}:{signature.line}: {self.function}: needs {' and '.join(needed)}; set ingest.source.interval, "
            "which a scheduled DAG run does by itself, or give defaults"
        )

    def checked_call(self, code: OwnCode) -> Callable[[], Any]:
        """The function with its arguments, checked against its annotations; to be used within `code.importable()`.

        Raises ParamsError, with file and line, for what the file raises as it is imported, and for an argument that the
        function does not take.
        """
        function = code.function(self.file, self.function)
        given = self.arguments | (self.interval.model_dump() if self.interval else {})
        arguments = checked_arguments(function, given, given=0, place=f"{self.file}: {self.function}")
        return partial(function, **arguments)

    def write(self, root: Path, file: Path) -> None:
        """Run the function of the project at `root`, and write what it gives as one Parquet file.

        Raises ParamsError, with file and line, for what the code raises, and for something else than rows. Raises
        DataError for no rows, for batches of several schemas, and for rows that are not those of `sha256`.
        """
        code, place = self.code(root), f"{self.file}: {self.function}"
        if reason := self.missing_interval(code):
            raise ParamsError(reason)
        with code.importable():
            call = self.checked_call(code)
            with code.errors_named():
                write_rows(call, file, place=place)
        require_rows(file, self.sha256, place=place)

    def _signature(self, code: OwnCode) -> Signature:
        """What the function takes; raises ParamsError for one that the file does not define."""
        if (signature := Signature.of(code.sources, self.file, self.function)) is None:
            require_function(code.sources, self.file, self.function, given=(), arguments=())
            raise ParamsError(
                f"{self.file}: {self.function!r} is no function of this file; name the file that defines it"
            )
        return signature
