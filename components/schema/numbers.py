"""Texts as numbers: plain, or as people write them."""

import re

import polars as pl

from headrace.components.schema.number_format import NumberFormat

MINUS = "[-\N{MINUS SIGN}]"
_SPACES = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"
_MARKS = {" ": f"[{_SPACES}]", "'": "['\N{RIGHT SINGLE QUOTATION MARK}]"}


def as_number(column: pl.Expr, found: pl.DataType, number_format: NumberFormat | None) -> pl.Expr:
    """Return a column of this type as Float64; null where it is no number, or text that is not written so."""
    return plain(column, found, number_format).cast(pl.Float64, strict=False)


def plain(column: pl.Expr, found: pl.DataType, number_format: NumberFormat | None) -> pl.Expr:
    """Return text in plain notation, such as -1234.5, null where it is not written so; other types as they are."""
    if found != pl.String:
        return column
    text = column.str.strip_chars()
    return _plain_text(text, number_format) if number_format else text


def _plain_text(text: pl.Expr, number_format: NumberFormat) -> pl.Expr:
    bare = text.str.replace_all(number_format.unit, "", literal=True) if number_format.unit else text
    digits = bare.str.extract(f"({_digits(number_format)})")
    if number_format.thousands:
        digits = digits.str.replace_all(_mark(number_format.thousands), "")
    is_negative = bare.str.contains(rf"^[^0-9]*(?:{MINUS}|\()|{MINUS}\s*$")
    digits = digits.str.replace(number_format.decimal, ".", literal=True)
    number = pl.when(is_negative).then(digits.str.replace("^", "-")).otherwise(digits)
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
