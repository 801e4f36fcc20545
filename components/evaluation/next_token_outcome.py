"""What a model of next tokens made of the rows it is measured on."""

from collections.abc import Sequence

import numpy as np

from headrace.components.evaluation import plots
from headrace.components.evaluation.metrics import token_metrics
from headrace.components.evaluation.outcome import Mistake, Outcome, check_finite
from headrace.components.models.next_tokens import NextTokens, TextModel, text_of


def token_outcome(predictions: NextTokens, *, model: TextModel, worst_examples: int) -> Outcome:
    """Return metrics, cross-entropy by place, and the texts with the highest cross-entropy a token.

    Raises TrainingError if a loss is not finite.
    """
    check_finite(predictions.losses)
    counts = predictions.is_token.sum(axis=0)
    losses = np.where(predictions.is_token, predictions.losses, 0)
    by_place = losses.sum(axis=0, dtype=np.float64)[counts > 0] / counts[counts > 0]
    by_text = losses.sum(axis=1, dtype=np.float64) / np.maximum(predictions.is_token.sum(axis=1), 1)
    return Outcome(
        metrics=token_metrics(predictions.targets, predictions.predicted, predictions.losses),
        figures={"cross_entropy_by_place": plots.cross_entropy_by_place(by_place, unit=model.unit)},
        worst=_worst(predictions, by_text, model=model, number=worst_examples),
    )


def _worst(predictions: NextTokens, losses: Sequence[float], *, model: TextModel, number: int) -> list[Mistake]:
    rows = np.argsort(-np.asarray(losses), kind="stable")[:number]
    return [
        Mistake(
            int(row),
            true=_on_one_line(text_of(model, predictions.targets[row])),
            predicted=_on_one_line(text_of(model, predictions.predicted[row][predictions.is_token[row]])),
            detail=f"{losses[row]:.3f}",
        )
        for row in rows
    ]


def _on_one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "⏎")
