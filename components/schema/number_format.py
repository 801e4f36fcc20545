"""How numbers are written by people: 1.234,50 EUR, $1,200, 12.5%, (300)."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.schema.settings import Settings


class NumberFormat(Settings):
    """How numbers are written where a source has them as text."""

    decimal: Literal[".", ","] = "."
    """The decimal mark."""

    thousands: Literal["", ",", ".", " ", "'"] = ""
    """The mark between groups of digits, if any. A blank stands for every space that Unicode has for numbers."""

    unit: Annotated[str, Field(max_length=20)] = ""
    """Text before or after the number, such as `$`, `EUR` or `%`, which is dropped: `12.5%` becomes 12.5. A cell may
    lack it, unless it is `%` or `‰`.
    """

    negative: Literal["minus", "parentheses", "trailing"] = "minus"
    """How negative numbers may be written besides `-5`: as `(5)` or `5-`."""

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
