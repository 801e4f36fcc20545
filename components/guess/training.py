"""Initial settings for data of some kind: transforms, split, model, training. A user continues from there."""

import math

from headrace.components.guess.findings import Guess, Section
from headrace.components.guess.guess_warnings import FEW_ROWS
from headrace.components.guess.split import SEED, guess_split

_STEPS = 2000  # of a training: enough to see whether there is something to learn
_SMALL_DATA = 5000  # rows
_UNBALANCED = 0.8  # share of the most frequent class
_RATES: Section = {
    "image": {"learning_rate": 0.001},
    "text": {"learning_rate": 0.004, "clip_norm": 1},  # gradients through time may explode
    "number": {"learning_rate": 0.002},
    "category": {"learning_rate": 0.002},
}


def guess_stages(guess: Guess, *, given_test: bool) -> Section:
    """Return all sections after `ingest`; `given_test` says that the source has a test set of its own."""
    label = guess.ingest["label"]
    normalize: Section = {"transforms": {name: _transforms(one) for name, one in guess.ingest["features"].items()}}
    if label["type"] in ("number", "numbers"):
        normalize["label"] = {"kind": "standardize"}
    return {
        "normalize": normalize,
        "split": guess_split(guess, given_test=given_test),
        "train": _train(guess),
        "evaluate": {"worst_examples": 12},
        "register": _register(guess),
    }


def _transforms(feature: Section) -> list[Section]:
    match feature:
        case {"type": "image"}:
            return [{"kind": "scale_pixels"}]
        case {"type": "text"}:
            return [{"kind": "vocabulary"}]
        case {"type": "category"}:
            return [{"kind": "one_hot"}]  # a missing category counts as any other
        case {"nullable": True}:
            return [{"kind": "impute", "strategy": "median", "indicator": True}, {"kind": "standardize"}]
        case _:
            return [{"kind": "standardize"}]


def _train(guess: Guess) -> Section:
    feature = next(iter(guess.ingest["features"].values()))  # of images and texts there is one
    batch_size = _batch_size(feature, guess.rows)
    epochs = min(_most_epochs(feature, guess.rows), max(2, round(_STEPS * batch_size / guess.rows)))
    return {
        "model": {"layers": _layers(feature, guess.rows)},
        "optimizer": {"kind": "adam", **_RATES[feature["type"]]},
        "global_batch_size": batch_size,
        "epochs": epochs,
        "early_stopping": {"patience_epochs": max(2, epochs // 5)},
        "seed": SEED,
        "num_workers": 2,
    }


def _batch_size(feature: Section, rows: int) -> int:
    if rows < _SMALL_DATA:
        return 8 if rows < FEW_ROWS else 32
    return 64 if feature["type"] == "text" else 128


def _most_epochs(feature: Section, rows: int) -> int:
    match feature["type"]:
        case "image":
            return 15
        case "text":
            return 50
        case _:
            return 200 if rows < FEW_ROWS else 50  # few rows make few steps an epoch


def _layers(feature: Section, rows: int) -> list[Section]:
    match feature["type"]:
        case "image":
            return _image_layers(feature)
        case "text":
            return [{"kind": "embedding", "units": 32}, {"kind": "recurrent", "cell": "lstm", "units": 128}]
        case _:
            return _table_layers(rows)


def _table_layers(rows: int) -> list[Section]:
    """Two layers; few rows are soon learned by heart, so theirs are smaller and held back more."""
    units, l2, rate = (32, 0.001, 0.3) if rows < _SMALL_DATA else (64, 0.0001, 0.1)
    return [
        {"kind": "dense", "units": units, "activation": "relu", "l2": l2},
        {"kind": "dropout", "rate": rate},
        {"kind": "dense", "units": units // 2, "activation": "relu", "l2": l2},
    ]


def _image_layers(image: Section) -> list[Section]:
    """Convolutions, each with twice the filters and half the size, until about four pixels are left."""
    side = min(image["height"], image["width"])
    layers: list[Section] = []
    for block in range(min(4, int(math.log2(side / 4))) if side >= 8 else 0):
        layers.append(_convolution(16 << block))
        layers.append({"kind": "max_pooling2d", "pool_size": 2})
    return [
        *(layers or [_convolution(16)]),
        {"kind": "flatten"},
        {"kind": "dropout", "rate": 0.3},
        {"kind": "dense", "units": 64, "activation": "relu"},
    ]


def _convolution(filters: int) -> Section:
    return {"kind": "conv2d", "filters": filters, "kernel_size": 3, "activation": "relu"}


def _register(guess: Guess) -> Section:
    """A champion must know more than which class or character is the most frequent, or what the mean is.

    A few test rows can't show that, so for them there is no threshold.
    """
    thresholds, metric = _thresholds_and_metric(guess)
    return {"thresholds": {} if guess.rows < FEW_ROWS else thresholds, "compare": {"metric": metric}}


def _thresholds_and_metric(guess: Guess) -> tuple[Section, str]:
    """What a champion must reach, and by what it is compared.

    Where one class is most of the rows, accuracy says little: a model that always names it is right nearly as often.
    """
    label = guess.ingest["label"]
    if guess.most_frequent is None:
        return {"r2": {"minimum": 0}}, "root_mean_squared_error"
    if label["type"] == "category" and guess.most_frequent > _UNBALANCED:
        return {"balanced_accuracy": {"minimum": round(1 / len(label["classes"]), 3)}}, "mcc"
    thresholds = {"accuracy": {"minimum": round(guess.most_frequent, 3)}}
    return thresholds, "cross_entropy" if label["type"] == "next_token" else "accuracy"
