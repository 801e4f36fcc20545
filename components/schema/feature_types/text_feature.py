"""Texts, of whose tokens a model is made."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from headrace.components.schema.feature_types.feature_type import FeatureType, Rule, Shape, Summarized, raw

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import polars as pl
    import pyarrow as pa

_MOST_WORDS = 4096  # for a linear model


class TextFeature(FeatureType):
    """A text, stored as it is, of which a model takes the first `length` tokens."""

    type: Literal["text"] = "text"
    length: Annotated[int, Field(ge=1, le=65_536)]
    """Number of tokens that the model takes. Longer texts are cut and shorter ones padded at the end."""

    unit: Literal["character", "word"] = "character"
    """A token is a character (a code point of Unicode), or a word between ASCII white space."""

    described: ClassVar[str] = "a text"
    summarized_as: ClassVar[Summarized] = "tokens"
    input_dtype: ClassVar[Literal["float32", "string"]] = "string"
    is_input_of_its_own: ClassVar[bool] = True
    simple_columns: ClassVar[str] = "how often words or characters occur (TF-IDF)"

    @property
    def arrow_type(self) -> "pa.DataType":
        """Text."""
        import pyarrow as pa

        return pa.large_string()

    @property
    def bytes_per_row(self) -> int:
        """A text's ids are float32, and next ones too."""
        return 8 * self.length

    def parsed(self, name: str, found: "pl.DataType") -> "pl.Expr":  # noqa: ARG002 - all types are cast
        """String as it is."""
        import polars as pl

        return pl.col(name).cast(pl.String)

    def rules(self, name: str, found: "Mapping[str, pl.DataType]") -> list[Rule]:  # noqa: ARG002
        """It must be there; it may be empty."""
        return [Rule(name, "missing", "a text", raw(name).is_null())]

    def raw_values(self, column: "pl.Expr") -> "pl.Expr":
        """String as it is."""
        return column

    @property
    def shape(self) -> Shape:
        """The tokens that a model takes."""
        return (self.length,)

    @property
    def made_up(self) -> "pl.Series":
        """Two texts."""
        import polars as pl

        return pl.Series(["a", "b"])

    @property
    def input_shape(self) -> Shape:
        """The text is cut into tokens within the model."""
        return (1,)

    def model_input(self, values: "pl.Series") -> "np.ndarray":
        """Text[rows, 1] as dtype object."""
        return values.fill_null("").to_numpy().astype(object).reshape(-1, 1)

    def simple_values(self, train: "pl.Series", test: "pl.Series") -> tuple[Any, Any]:
        """Sparse columns of the most frequent words or characters (TF-IDF)."""
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer

        words = {"analyzer": "word", "token_pattern": r"\S+"} if self.unit == "word" else {"analyzer": "char"}
        counted = TfidfVectorizer(**words, max_features=_MOST_WORDS, lowercase=False)
        try:
            return counted.fit_transform(train.fill_null("").to_list()), counted.transform(test.fill_null("").to_list())
        except ValueError:  # no text has a token
            return np.zeros((len(train), 1)), np.zeros((len(test), 1))
