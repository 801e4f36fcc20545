"""Which pixels or words speak for a prediction, and which against: integrated gradients."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import polars as pl

from headrace.components.evaluation.report_parts.subject import Subject
from headrace.components.evaluation.worst_examples import picture
from headrace.components.examples.tokens import tokens_of
from headrace.components.mixing import mix
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.serving_model.model_inputs import model_inputs

_STEPS = 24  # of the path from nothing to the example
_MOST_VALUES = 1 << 16  # pixels of all examples together: a backward pass of a large image takes seconds
_SEED = 0x1147
_LISTED = 5
_FOR, _AGAINST = (0, 114, 178), (213, 94, 0)  # the colours of the page's figures
_NINTHS = (
    ("upper left", "upper middle", "upper right"),
    ("left", "middle", "right"),
    ("lower left", "lower middle", "lower right"),
)


@dataclass(frozen=True)
class Word:
    """A token and how much it adds to the probability; `strength` is its share of the largest, 0 to 1."""

    text: str
    adds: float
    strength: float


@dataclass(frozen=True)
class Attribution:
    """What speaks for the prediction of one example: a heat map over its picture, or words."""

    true: str
    predicted: str
    probability: float
    picture: np.ndarray | None
    heat: np.ndarray | None
    words: tuple[Word, ...]
    summary: str
    """The same in words."""


@dataclass(frozen=True)
class Attributions:
    """Integrated gradients (Sundararajan, Taly and Yan, 2017) of the predicted class's probability."""

    name: ClassVar[str] = "attributions"
    title: ClassVar[str] = "What speaks for a prediction"

    feature: str
    examples: tuple[Attribution, ...]
    of_words: bool
    joined: bool
    """Whether tokens are characters, with nothing between them."""


class _Chosen(NamedTuple):
    """The examples that are explained: raw rows, a model's inputs, and the places of the predicted classes."""

    model: Any
    rows: pl.DataFrame
    arrays: Mapping[str, np.ndarray]
    targets: list[int]
    predicted: list[str]
    true: list[str]

    @property
    def probabilities(self) -> list[float]:
        """Of the predicted classes."""
        found = np.asarray(self.model(dict(self.arrays), training=False))
        return [float(found[row, target]) for row, target in enumerate(self.targets)]


def attributions(subject: Subject) -> Attributions | None:
    """Attribute predictions of some examples to an image or a text; None where the model takes neither."""
    label, most = subject.label, subject.settings.attributions
    if not isinstance(label, CategoryLabel) or not most:
        return None
    for name, feature in subject.inputs.items():
        match feature:
            case ImageFeature():
                few = max(1, min(most, _MOST_VALUES // feature.size))
                images = _of_images(_chosen(subject, label, few), name, feature)
                return Attributions(name, images, of_words=False, joined=False) if images else None
            case TextFeature():
                texts = _of_texts(_chosen(subject, label, most), name, feature)
                joined = feature.unit == "character"
                return Attributions(name, texts, of_words=True, joined=joined) if texts else None
    return None


def _chosen(subject: Subject, label: CategoryLabel, count: int) -> _Chosen:
    """Half of them the worst examples, the others drawn by their ids."""
    worst = np.argsort(-subject.outcomes["loss"].to_numpy(), kind="stable")[: count // 2].tolist()
    order = np.argsort(mix(subject.outcomes["example_id"].to_numpy(), _SEED), kind="stable").tolist()
    places: list[int] = (worst + [place for place in order if place not in worst])[:count]
    rows, predicted = subject.measurement.rows[places], subject.outcomes["prediction"][places].to_list()
    return _Chosen(
        model=subject.measurement.model,
        rows=rows,
        arrays=model_inputs(rows, features=subject.inputs),
        targets=[label.classes.index(one) for one in predicted],
        predicted=predicted,
        true=rows[label.name].to_list(),
    )


def _of_images(chosen: _Chosen, name: str, feature: ImageFeature) -> tuple[Attribution, ...]:
    """None of them for a model without a gradient."""
    found = integrated_gradients(chosen.model, chosen.arrays, name, chosen.targets)
    if found is None:
        return ()
    made = []
    probabilities = chosen.probabilities
    for place, (predicted, true) in enumerate(zip(chosen.predicted, chosen.true, strict=True)):
        seen, adds = picture(chosen.rows[name][place], feature=feature), found[place].sum(axis=-1)
        heat, summary = heat_map(seen, adds), _where(adds, predicted)
        made.append(Attribution(true, predicted, probabilities[place], seen, heat, (), summary))
    return tuple(made)


def _of_texts(chosen: _Chosen, name: str, feature: TextFeature) -> tuple[Attribution, ...]:
    """None of them for a model that has not exactly one embedding."""
    found = token_attributions(chosen.model, chosen.arrays, name, chosen.targets)
    if found is None:
        return ()
    made = []
    probabilities, tokens = chosen.probabilities, tokens_of(chosen.rows[name], unit=feature.unit).to_list()
    for place, (predicted, true) in enumerate(zip(chosen.predicted, chosen.true, strict=True)):
        adds = found[place][: len(tokens[place])]
        largest = float(np.abs(adds).max(initial=0)) or 1.0
        shown = zip(tokens[place], adds.tolist(), strict=False)  # tokens beyond the model's length are cut
        words = tuple(Word(text, value, abs(value) / largest) for text, value in shown)
        made.append(Attribution(true, predicted, probabilities[place], None, None, words, _most(words)))
    return tuple(made)


def integrated_gradients(
    model: Any, arrays: Mapping[str, np.ndarray], name: str, targets: list[int]
) -> np.ndarray | None:
    """How much each value of an input adds to the target's probability, float32[rows, ...], on the way from 0.

    The mean gradient at the middles of `_STEPS` steps, times the value: of all values together, the difference of the
    probability from that of an input of zeros. Other inputs stay as they are. None where there is no gradient.
    """
    import tensorflow as tf

    values, index = tf.constant(arrays[name]), tf.stack([tf.range(len(targets)), tf.constant(targets)], axis=1)
    total = tf.zeros_like(values)
    for step in range(_STEPS):
        scaled = values * ((step + 0.5) / _STEPS)
        with tf.GradientTape() as tape:
            tape.watch(scaled)
            given = tf.gather_nd(model({**arrays, name: scaled}, training=False), index)
        gradient = tape.gradient(given, scaled)
        if gradient is None:
            return None
        total += gradient
    found: np.ndarray = (total * values / _STEPS).numpy()
    return found


def token_attributions(
    model: Any, arrays: Mapping[str, np.ndarray], name: str, targets: list[int]
) -> np.ndarray | None:
    """How much each token adds to the target's probability, float32[rows, length], on the way from an embedding of 0.

    None for a model that has not exactly one embedding.
    """
    import tensorflow as tf

    embeddings = [layer for layer in _layers(model) if type(layer).__name__ == "Embedding"]
    if len(embeddings) != 1 or name not in arrays:
        return None
    index = tf.stack([tf.range(len(targets)), tf.constant(targets)], axis=1)
    total: Any = 0.0
    whole: Any = None
    for step in range(_STEPS):
        with tf.GradientTape() as tape, _scaled(embeddings[0], (step + 0.5) / _STEPS, tape) as seen:
            given = tf.gather_nd(model(dict(arrays), training=False), index)
        [(whole, scaled)] = seen
        gradient = tape.gradient(given, scaled)
        if gradient is None:
            return None
        total = total + gradient
    found: np.ndarray = tf.reduce_sum(total * whole / _STEPS, axis=-1).numpy()
    return found


@contextmanager
def _scaled(layer: Any, factor: float, tape: Any) -> Iterator[list[Any]]:
    """While the block runs, the layer gives its output times `factor`, which the tape watches; both are listed."""
    original: Callable[..., Any] = layer.call
    seen: list[Any] = []

    def call(*arguments: Any, **options: Any) -> Any:
        whole = original(*arguments, **options)
        scaled = whole * factor
        tape.watch(scaled)
        seen.append((whole, scaled))
        return scaled

    layer.call = call
    try:
        yield seen
    finally:
        layer.call = original


def _layers(model: Any) -> Iterator[Any]:
    """All layers, also those of models within."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        else:
            yield layer


def heat_map(seen: np.ndarray, adds: np.ndarray) -> np.ndarray:
    """uint8[height, width, 3]: a pale picture, blue where a pixel speaks for the prediction, orange where against."""
    gray = seen if seen.ndim == 2 else seen[..., :3].mean(axis=-1)
    pale = np.repeat(190 + gray[..., np.newaxis] * (65 / 255), 3, axis=-1)
    largest = np.quantile(np.abs(adds), 0.99) or np.abs(adds).max() or 1.0
    strength = np.clip(np.abs(adds) / largest, 0, 1)[..., np.newaxis]
    color = np.where(adds[..., np.newaxis] > 0, _FOR, _AGAINST)
    mixed: np.ndarray = np.rint(pale * (1 - strength) + color * strength).astype(np.uint8)
    return mixed


def _where(adds: np.ndarray, predicted: str) -> str:
    """In which ninth of the image the pixels for and against lie mostly."""
    said = []
    for sign, verb in ((1, f"for {predicted} speak pixels"), (-1, "against it")):
        parts = np.maximum(sign * adds, 0)
        rows, columns = (np.minimum(np.arange(size) * 3 // size, 2) for size in parts.shape)
        sums = np.zeros((3, 3))
        np.add.at(sums, (rows[:, np.newaxis], columns[np.newaxis]), parts)
        if sums.sum() > 0:
            row, column = np.unravel_index(sums.argmax(), sums.shape)
            said.append(f"{verb} mostly {_NINTHS[int(row)][int(column)]}")
    return "; ".join(said) or "no pixel speaks for or against it"


def _most(words: tuple[Word, ...]) -> str:
    """The words that add or take most."""
    ordered = sorted(words, key=lambda one: -one.adds)
    speak_for = [f"{one.text} ({one.adds:+.2f})" for one in ordered[:_LISTED] if one.adds > 0]
    against = [f"{one.text} ({one.adds:+.2f})" for one in ordered[::-1][:_LISTED] if one.adds < 0]
    parts = [f"{what}: {', '.join(some)}" for what, some in (("for", speak_for), ("against", against)) if some]
    return "; ".join(parts) or "no token speaks for or against it"
