"""A few rows that stand in params.yaml itself."""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import Field

from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources.made_rows import MadeRowsSource
from headrace.components.sources.raw_part import GivenSplit
from headrace.components.sources.schema_checks import require_no_images


class InlineSource(MadeRowsSource):
    """A few rows that stand in params.yaml itself: values by the names of their columns."""

    kind: Literal["inline"] = "inline"
    rows: Annotated[tuple[dict[str, int | float | str | None], ...], Field(min_length=1, max_length=1000)]
    """The rows, each with a value for each column name."""

    def check_schema(self, schema: ExampleSchema) -> None:
        """Raise ParamsError for an image: a row has none."""
        require_no_images(schema, kind=self.kind)

    def lines(self) -> Sequence[tuple[Callable[[], str], GivenSplit | None]]:
        """The rows as they are."""
        return [(lambda: "".join(f"{json.dumps(row)}\n" for row in self.rows), None)]
