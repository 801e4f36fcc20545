"""Numbers as people write them: 1.234,50 EUR, $1,200, 12.5%, (300). Their settings, and how they are read."""

import re
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from components.settings import Settings

if TYPE_CHECKING:  # params.yaml is read where Airflow parses DAGs, which must not load Polars
    import polars as pl

MINUS = "[-\N{MINUS SIGN}]"
_SPACES = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"
_MARKS = {" ": f"[{_SPACES}]", "'": "['\N{RIGHT SINGLE QUOTATION MARK}]"}


class NumberFormat(Settings):
    """How numbers are written where a source has them as text.

    `unit` stands before or after the number. A cell may lack it, unless it is % or ‰: 0.5 is not 0.5%. The unit is
    dropped: 12.5% becomes 12.5. `negative` is what negative numbers may have instead of a minus in front.
    """

    decimal: Literal[".", ","] = "."
    thousands: Literal["", ",", ".", " ", "'"] = ""
    unit: Annotated[str, Field(max_length=20)] = ""
    negative: Literal["minus", "parentheses", "trailing"] = "minus"

    @model_validator(mode="after")
    def _marks_differ(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands can't both be {self.decimal!r}")
        return self

    @model_validator(mode="after")
    def _unit_is_no_part_of_a_number(self) -> Self:
        if re.search(r"^[\s\d.,+-]|[\s+-]$|[()]", self.unit):
            raise ValueError(
                f"unit {self.unit!r} must not begin like a number, end with a blank or sign, or have ( or )"
            )
        return self

    @property
    def example(self) -> str:
        """A number that is written so, such as -1.234,5 EUR."""
        digits = f"1{self.thousands}234{self.decimal}5"
        digits = {"minus": f"-{digits}", "parentheses": f"({digits})", "trailing": f"{digits}-"}[self.negative]
        return f"{digits}{self.unit}" if self.unit in ("%", "‰") else f"{digits} {self.unit}".rstrip()


def as_number(column: "pl.Expr", found: "pl.DataType", number_format: NumberFormat | None) -> "pl.Expr":
    """Return a column of this type as Float64; null where it is no number, or text that is not written so."""
    import polars as pl

    return plain(column, found, number_format).cast(pl.Float64, strict=False)


def plain(column: "pl.Expr", found: "pl.DataType", number_format: NumberFormat | None) -> "pl.Expr":
    """Return text in plain notation, such as -1234.5, null where it is not written so; other types as they are."""
    import polars as pl

    if found != pl.String:
        return column
    text = column.str.strip_chars()
    return _plain_text(text, number_format) if number_format else text


def _plain_text(text: "pl.Expr", number_format: NumberFormat) -> "pl.Expr":
    import polars as pl

    bare = text.str.replace_all(number_format.unit, "", literal=True) if number_format.unit else text
    digits = bare.str.extract(f"({_digits(number_format)})")
    if number_format.thousands:
        digits = digits.str.replace_all(_mark(number_format.thousands), "")
    is_negative = bare.str.contains(rf"^[^0-9]*(?:{MINUS}|\()|{MINUS}\s*$")
    sign = pl.when(is_negative).then(pl.lit("-")).otherwise(pl.lit(""))
    number = pl.concat_str(sign, digits.str.replace(number_format.decimal, ".", literal=True))
    return pl.when(text.str.contains(_pattern(number_format))).then(number)


def _pattern(number_format: NumberFormat) -> str:
    """What the whole text must match: one number, at most one sign, at most one unit."""
    number, sign, unit = _digits(number_format), rf"(?:[+]|{MINUS})\s*", re.escape(number_format.unit)
    signed = [f"(?:{sign})?{number}"]
    if number_format.negative == "parentheses":
        signed.append(rf"\(\s*{number}\s*\)")
    if number_format.negative == "trailing":
        signed.append(rf"{number}\s*{MINUS}")
    forms = [] if number_format.unit in ("%", "‰") else list(signed)
    if unit:
        forms += [form for one in signed for form in (rf"{unit}\s*{one}", rf"{one}\s*{unit}")]
        forms.append(rf"{sign}{unit}\s*{number}")
        if number_format.negative == "parentheses":
            forms.append(rf"\(\s*(?:{unit}\s*{number}|{number}\s*{unit})\s*\)")
        if number_format.negative == "trailing":
            forms.append(rf"{number}\s*{unit}\s*{MINUS}")
    return f"^(?:{'|'.join(forms)})$"


def _digits(number_format: NumberFormat) -> str:
    whole, decimal = "[0-9]+", re.escape(number_format.decimal)
    if number_format.thousands:
        mark = _mark(number_format.thousands)
        # Groups of two are Indian: 12,34,567. A group never begins a number with 0: 0,125 is a fraction.
        whole = f"(?:[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{2,3}})*{mark}[0-9]{{3}}|{whole})"
    return f"(?:{whole}(?:{decimal}[0-9]*)?|{decimal}[0-9]+)(?:[eE][+-]?[0-9]+)?"


def _mark(thousands: str) -> str:
    return _MARKS.get(thousands) or re.escape(thousands)
