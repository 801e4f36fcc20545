"""What a model of next tokens made of the rows it is measured on."""

from collections.abc import Sequence

import numpy as np

from headrace.components.errors import DataError
from headrace.components.serving_model.next_tokens import NextTokens, TextModel, text_of
from headrace.components.tasks.model_outputs import check_finite
from headrace.components.tasks.task import Mistake, Outcome


def token_outcome(predictions: NextTokens, *, model: TextModel, worst_examples: int) -> Outcome:
    """Metrics, cross-entropy by place, and the texts with the highest cross-entropy a token.

    Raises TrainingError if a loss is not finite.
    """
    from headrace.components.plots import figures  # matplotlib, which metrics alone do not need

    check_finite(predictions.losses)
    counts = predictions.is_token.sum(axis=0)
    losses = np.where(predictions.is_token, predictions.losses, 0)
    by_place = losses.sum(axis=0, dtype=np.float64)[counts > 0] / counts[counts > 0]
    by_text = losses.sum(axis=1, dtype=np.float64) / np.maximum(predictions.is_token.sum(axis=1), 1)
    return Outcome(
        metrics=token_metrics(predictions.targets, predictions.predicted, predictions.losses),
        figures={"cross_entropy_by_place": figures.cross_entropy_by_place(by_place, unit=model.unit)},
        worst=_worst(predictions, by_text, model=model, number=worst_examples),
        worst_are=(
            "The texts whose tokens the model gave the lowest probabilities, and what it thought most probable at each "
            "place."
        ),
        detail_is="nats a token",
    )


def token_metrics(targets: np.ndarray, predicted: np.ndarray, losses: np.ndarray) -> dict[str, float]:
    """Return cross-entropy in nats a token, its power of e (perplexity) and accuracy; padding counts in none.

    `targets` and `predicted` are int[texts, length], ids of tokens, 0 for padding; `losses` is float[texts, length].
    Raises DataError if all is padding.
    """
    is_token = targets != 0
    if not is_token.any():
        raise DataError("no text has a second token, so there is nothing to predict; add longer texts")
    cross_entropy = losses[is_token].mean(dtype=np.float64)
    accuracy = (targets == predicted)[is_token].mean()
    return {
        "cross_entropy": float(cross_entropy),
        "perplexity": float(np.exp(cross_entropy)),
        "accuracy": float(accuracy),
    }


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
