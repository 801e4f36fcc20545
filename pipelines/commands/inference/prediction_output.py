"""Where `headrace predict` writes: a CSV or Parquet file, or standard output, whole or not at all."""

import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import structlog
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.components.errors import ParamsError
from headrace.components.files.atomic import replace_file
from headrace.components.files.tables import write_parts
from headrace.components.serving_model import spreadsheet_formulas

SUFFIXES = (".csv", ".parquet")
_SHOWN_ROWS = 50
_SHOWN_CLASSES = 4

log = structlog.get_logger()


def check_output(output_file: Path | None) -> None:
    """Raise ParamsError for a file whose name does not say in which format it is to be written."""
    if output_file is not None and output_file.suffix.lower() not in SUFFIXES:
        raise ParamsError(f"can't write {output_file}: its name must end in {' or '.join(SUFFIXES)}")


def deliver(parts: Iterable[pl.DataFrame], output_file: Path | None, *, escape_formulas: bool) -> int:
    """Write predictions to the file or, where there is none, to standard output; the number of their rows.

    Nothing is there before all of it is. `parts`, of which there is one at least, are written as they come.
    """
    if output_file is None:
        return show(parts, escape_formulas=escape_formulas)
    with replace_file(output_file) as file:
        if output_file.suffix.lower() == ".csv":
            rows = _write_csv(parts, file, escape_formulas=escape_formulas)
        else:
            rows = write_parts(parts, file)
    log.info("predicted", rows=rows, output=str(output_file))
    return rows


def show(parts: Iterable[pl.DataFrame], *, escape_formulas: bool = False) -> int:
    """Write predictions to standard output: a table of the first rows on a terminal, all of them as CSV elsewhere."""
    console = Console()
    if not console.is_terminal:
        with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
            file = Path(folder) / "predictions.csv"
            rows = _write_csv(parts, file, escape_formulas=escape_formulas)
            with file.open(encoding="utf-8", newline="") as content:
                shutil.copyfileobj(content, sys.stdout)
        return rows
    first, rows = [], 0
    for part in parts:
        if rows < _SHOWN_ROWS:
            first.append(part.head(_SHOWN_ROWS - rows))
        rows += part.height
    shown = pl.concat(first)
    classes = [name for name in shown.columns if name.startswith("probability_")]
    if len(classes) > _SHOWN_CLASSES:  # too wide: only the probability of what is predicted
        shown = shown.select(pl.exclude(classes), pl.max_horizontal(classes).alias("probability"))
    console.print(_table(shown))
    if (rest := rows - shown.height) > 0:
        console.print(f"and {rest:,} more rows: --output FILE writes all of them")
    return rows


def _write_csv(parts: Iterable[pl.DataFrame], file: Path, *, escape_formulas: bool) -> int:
    """Write tables as one CSV file; cells that a spreadsheet would run are escaped, or counted in a warning."""
    rows, formulas = 0, 0
    with file.open("wb") as stream:
        for part in parts:
            if escape_formulas:
                table = spreadsheet_formulas.escape_formulas(part)
            else:
                table = part
                formulas += spreadsheet_formulas.count_formulas(part, with_names=rows == 0)
            table.write_csv(stream, include_header=rows == 0)
            rows += part.height
    if formulas:
        log.warning("cells that a spreadsheet would run as formulas; --escape-formulas makes them text", cells=formulas)
    return rows


def _table(shown: pl.DataFrame) -> Table:
    numeric = {name for name, dtype in shown.schema.items() if dtype.is_numeric()}
    table = Table()
    for name in shown.columns:
        table.add_column(Text(name), justify="right" if name in numeric else "left")
    for row in shown.iter_rows():
        # Text, because a str would be read as rich's markup, and the words are the user's data.
        table.add_row(*(Text(f"{value:.4g}" if isinstance(value, float) else str(value)) for value in row))
    return table
