"""After each token of a text, the one that follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from headrace.components.models.output import Output
from headrace.components.models.settings import Model
from headrace.components.models.shapes import check_text
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import NextTokenLabel
from headrace.components.tasks.metric_names import with_validation
from headrace.components.tasks.section_checks import (
    refuse_class_weights,
    refuse_images,
    refuse_label_transform,
    refuse_points,
)
from headrace.components.tasks.task import ClassWeights, Measurement, Outcome, Sections

if TYPE_CHECKING:
    import keras
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from headrace.components.tasks.outcome_rows import RowMetrics
    from headrace.components.transforms.fitted_table import FittedTable


@dataclass(frozen=True)
class NextToken:
    """Cross-entropy of tokens while training, probabilities after each token afterwards; padding counts for nothing."""

    label: NextTokenLabel

    metric_names = ("cross_entropy", "perplexity", "accuracy")
    epoch_metric_names = with_validation("loss", "accuracy", "perplexity")
    headline = ("cross_entropy", "perplexity", "accuracy")
    error_metric = "loss"
    unit = ""
    classes = ()
    label_dtype: ClassVar[Literal["int32"]] = "int32"
    report_template = "next_token.html.jinja"
    generates: ClassVar[Literal["text"]] = "text"

    @property
    def submission_columns(self) -> Mapping[str, str]:
        """The text that was predicted under the name of the one that was given."""
        return {self.label.name: "prediction"}

    def check(self, sections: Sections) -> None:
        """Require that the text is the model's input, and that the model gives values after each of its tokens."""
        refuse_class_weights(sections)
        refuse_points(sections)
        refuse_images(sections)
        refuse_label_transform(sections)
        name, text = self.label.name, sections.schema.features[self.label.name]
        if name not in sections.transforms:
            raise ValueError(f"normalize.transforms: the label is the next token of {name!r}, so that is the input")
        if isinstance(sections.model, Model):
            check_text(sections.model, length=TextFeature.require(text).length, each_token=True)

    def label_values(self, fitted: "FittedTable") -> "pl.Expr":
        """Array(Int32, length): the ids of all tokens but the first."""
        import polars as pl

        name = self.label.name
        text = fitted.features[name]
        if text.vocabulary is None:
            raise TypeError(f"next tokens of {name!r} without a vocabulary, which check() would have refused")
        length = text.width
        all_ids = text.vocabulary.ids(pl.col(name), TextFeature.require(text.feature), length=length + 1)
        return all_ids.arr.tail(length).list.to_array(length).cast(pl.Array(pl.Int32, length))

    def output(self, tokens: int | None) -> Output:
        """A logit for each id, after each token."""
        if tokens is None:
            raise TypeError("no vocabulary, without which a text has no next tokens")
        return Output(tokens, per_token=True)

    def loss(self, *, label_smoothing: float) -> "keras.losses.Loss":
        """Cross-entropy of logits, a mean over all places."""
        from headrace.components.tasks.token_losses import TokenCrossentropy

        return TokenCrossentropy()

    def epoch_metrics(self) -> "list[keras.metrics.Metric]":
        """Accuracy and perplexity of tokens."""
        from headrace.components.tasks.token_losses import Perplexity, TokenAccuracy

        return [TokenAccuracy(name="accuracy"), Perplexity(name="perplexity")]

    def example_weights(
        self,
        labels: "NDArray[np.int32]",
        *,
        class_weights: ClassWeights,
    ) -> "NDArray[np.float32] | None":
        """None: a text has no class."""
        return None

    def saved_model(
        self,
        core: "keras.Model",
        fitted: "FittedTable",
        *,
        inputs: "Mapping[str, Sequence[str]] | None" = None,
        backbone_weights: bytes | None = None,
    ) -> "keras.Model":
        """Texts to probabilities float32[batch, length, tokens]."""
        from headrace.components.models.build import with_probabilities
        from headrace.components.serving_model.raw_model import raw_model

        return raw_model(with_probabilities(core), fitted, inputs=inputs, backbone_weights=backbone_weights)

    def output_shape(self, features: Mapping[str, Feature]) -> tuple[int, ...]:
        """Length and number of ids, which the training rows decide."""
        return (-1, -1)

    def metrics(self, measurement: Measurement) -> dict[str, float]:
        """Cross-entropy, perplexity and accuracy of tokens."""
        from headrace.components.serving_model.next_tokens import predict_tokens, text_model
        from headrace.components.tasks.model_outputs import check_inputs
        from headrace.components.tasks.token_outcome import token_metrics

        check_inputs(measurement.model, measurement.features)
        found = predict_tokens(text_model(measurement.model), measurement.rows[self.label.name])
        return token_metrics(found.targets, found.predicted, found.losses)

    def outcome(self, measurement: Measurement) -> Outcome:
        """Cross-entropy by place, and the texts with the highest cross-entropy a token."""
        from headrace.components.serving_model.next_tokens import predict_tokens, text_model
        from headrace.components.tasks.outcome_rows import token_rows
        from headrace.components.tasks.token_outcome import token_outcome

        model = text_model(measurement.model)
        found = predict_tokens(model, measurement.rows[self.label.name])
        outcome = token_outcome(found, model=model, worst_examples=measurement.worst_examples)
        return replace(outcome, rows=token_rows(found))

    def outcome_rows(self, measurement: Measurement) -> "pl.DataFrame":
        """Tokens of each text, how many were predicted, and its loss."""
        from headrace.components.serving_model.next_tokens import predict_tokens, text_model
        from headrace.components.tasks.model_outputs import check_inputs
        from headrace.components.tasks.outcome_rows import token_rows

        check_inputs(measurement.model, measurement.features)
        return token_rows(predict_tokens(text_model(measurement.model), measurement.rows[self.label.name]))

    def joined_outcomes(self, parts: "Sequence[pl.DataFrame]") -> "pl.DataFrame":
        """The rows of all parts: each row's outcome is its own."""
        import polars as pl

        return pl.concat(parts)

    def scored(self, predictions: "pl.DataFrame", labels: "pl.DataFrame") -> "pl.DataFrame":
        """Raise TypeError: the command refuses it before."""
        raise TypeError("the label of a text is in it: there is nothing to wait for")

    def row_metrics(self, rows: "pl.DataFrame") -> "RowMetrics":
        """All metrics."""
        from headrace.components.tasks.outcome_rows import token_row_metrics

        return token_row_metrics(rows)

    def predictions(self, model: Any, examples: "pl.DataFrame", features: Mapping[str, Feature]) -> "pl.DataFrame":
        """After each token of each text, the one that the model holds most probable."""
        import polars as pl

        from headrace.components.examples.tokens import tokens_of
        from headrace.components.serving_model.next_tokens import predict_tokens, text_model, text_of

        of_text, texts = text_model(model), examples[self.label.name]
        counts = tokens_of(texts, unit=of_text.unit).list.len()
        found = zip(predict_tokens(of_text, texts).predicted, counts, strict=True)
        return pl.DataFrame({"prediction": [text_of(of_text, ids[:count]) for ids, count in found]})

    def rows_together(self, model: Any, features: Mapping[str, Feature]) -> int:
        """As many texts as memory holds the probabilities of."""
        from headrace.components.serving_model.next_tokens import text_model, texts_at_once

        return texts_at_once(text_model(model))
