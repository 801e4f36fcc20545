"""What an example is made of: its features, its label, and what identifies it."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from headrace.components.schema.date_formats import DateFormat
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import GeneratedLabel, Label, NextTokenLabel, label_column
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
        of_label = self.features.get(self.label.name)
        if isinstance(self.label, NextTokenLabel):
            if not isinstance(of_label, TextFeature):
                raise ValueError(f"label.name: next_token is of a text feature, and {self.label.name!r} is none")
        elif isinstance(self.label, GeneratedLabel):
            if not isinstance(of_label, ImageFeature):
                raise ValueError(f"label.name: generated are images, and {self.label.name!r} is no image feature")
            self._require_category(self.label)
        elif answers := [name for name in label_column(self.label) if name in self.features]:
            raise ValueError(f"the label {answers[0]!r} is also a feature: a model would receive the answer")
        for name in (*self.features, self.label.name, *label_column(self.label)):
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

    def _require_category(self, label: GeneratedLabel) -> None:
        category = self.features.get(label.by) if label.by else None
        if label.by and (
            not isinstance(category, CategoryFeature) or category.nullable or category.classes != label.classes
        ):
            raise ValueError(
                "label.by: expected a category among the features, never missing, with the classes "
                f"{', '.join(label.classes or ())}; found {label.by!r}: {category if category else 'no feature'}"
            )

    @property
    def columns(self) -> dict[str, Feature]:
        """The features and, last, the label as a feature that is never missing: all that one example holds."""
        return {**self.features, **label_column(self.label)}

    @property
    def unique_columns(self) -> tuple[str, ...]:
        """Columns of which no two rows may have the same value."""
        return tuple(name for name, one in self.columns.items() if getattr(one, "unique", False))
