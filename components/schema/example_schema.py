"""What an example is made of: its features, its label, and what identifies it."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from headrace.components.schema.date_formats import DateFormat
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import GeneratedLabel, Label
from headrace.components.schema.settings import Settings

ADDED_COLUMNS = ("example_id", "content_id", "group_id", "time", "sample_weight", "given_split")


class TimeColumn(Settings):
    """The column of the source that says when an example was made, and how it is written (see `date_format`)."""

    column: str
    """Name of the column; it need not be a feature."""

    date_format: DateFormat = "iso"
    """Format of Python's strptime with a year, or `iso`. A time without a zone is in UTC."""


class RowSchema(Settings):
    """The columns of a row, and what identifies it."""

    features: Annotated[dict[str, Feature], Field(min_length=1)]
    """The features of an example by name; `type` decides the keys of each."""

    key: tuple[str, ...] = ()
    """Columns of the source that identify a row, features or not. Without a key, its content identifies a row."""

    group: tuple[str, ...] = ()
    """Columns of the source that name the group of an example, such as a patient or user: a whole group is in one
    split.
    """

    time: TimeColumn | None = None
    """The column of the source with the time of an example."""

    sample_weight: str | None = None
    """The column of the source that says how much an example counts in the training loss, 0 or more; no feature. A
    prediction does without it.
    """

    @model_validator(mode="after")
    def _lists_identify_nothing(self) -> Self:
        for setting, names in (("key", self.key), ("group", self.group)):
            for name in names:
                if name in self.list_columns:
                    raise ValueError(f"{setting}: {name!r} has lists of numbers, which identify no row")
        return self

    @property
    def columns(self) -> dict[str, Feature]:
        """All that a row holds once it is typed."""
        return dict(self.features)

    @property
    def list_columns(self) -> frozenset[str]:
        """Columns of the source whose values are lists."""
        return frozenset(column for name, one in self.columns.items() if one.is_list for column in one.read_from(name))

    @property
    def source_columns(self) -> tuple[str, ...]:
        """All columns that the source must have."""
        time = () if self.time is None else (self.time.column,)
        read = [column for name, feature in self.columns.items() for column in feature.read_from(name)]
        weight = () if self.sample_weight is None else (self.sample_weight,)
        return tuple(dict.fromkeys([*self.key, *self.group, *time, *weight, *read]))


class ExampleSchema(RowSchema):
    """What an example is made of: a row, and the label to predict from it."""

    label: Label
    """The column to predict; `type` decides the keys."""

    @model_validator(mode="after")
    def _columns_have_their_own_names(self) -> Self:
        self.label.check(self.features)
        for name in (*self.features, self.label.name, *self.label.columns):
            if name in ADDED_COLUMNS or (name == "label" and name in self.features):
                raise ValueError(f"a column can't be called {name!r}: Headrace adds one of that name")
        return self

    @model_validator(mode="after")
    def _weight_is_a_column_of_its_own(self) -> Self:
        if self.sample_weight in self.columns:
            raise ValueError(
                f"sample_weight: {self.sample_weight!r} is also a feature or the label; give a column of its own"
            )
        if self.sample_weight is not None and isinstance(self.label, GeneratedLabel):
            raise ValueError("sample_weight: the losses of generated images take none; leave it out")
        return self

    @property
    def columns(self) -> dict[str, Feature]:
        """The features and, last, the label as a feature that is never missing: all that one example holds."""
        return {**self.features, **self.label.columns}

    @property
    def unique_columns(self) -> tuple[str, ...]:
        """Columns of which no two rows may have the same value."""
        return tuple(name for name, one in self.columns.items() if getattr(one, "unique", False))
