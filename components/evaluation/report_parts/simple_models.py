"""Models without a network, of scikit-learn: what a network must be better than."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headrace.components.schema.decoding import pixels_of
from headrace.components.schema.features import CategoryFeature, Feature, ImageFeature, NumberFeature, TextFeature

SEED = 20_230_217
_MOST_CATEGORIES = 50  # of a column, for a linear model: the most frequent ones
_MOST_CODES = 250  # for trees, whose bins are 255
_MOST_WORDS = 4096
_SIDE = 16  # of an image, in blocks whose mean is a value
_MOST_PIXELS = 1 << 22  # at once
_MOST_TREES = 1000  # over all classes or numbers
_MOST_BOOSTED = 100  # classes, each of which has trees of its own
_ITERATIONS = 2000  # over all classes

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class SimplePredictions:
    """Predictions of a simple model: float64[rows, classes] probabilities, or float64[rows, numbers]."""

    name: str
    how: str
    values: Numbers


def classify(
    train: pl.DataFrame, test: pl.DataFrame, *, features: Mapping[str, Feature], labels: NDArray[np.int64], classes: int
) -> Iterator[SimplePredictions]:
    """Yield probabilities of `test` by models of `train`, whose classes are int[rows] `labels`.

    The frequencies of the classes, logistic regression and, of a table and up to 100 classes, gradient boosting.
    """
    shares = np.bincount(labels, minlength=classes) / max(1, len(labels))
    yield SimplePredictions(
        "the most frequent class", "the classes as often as in training", np.tile(shares, (test.height, 1))
    )
    if len(np.unique(labels)) < 2:
        return
    from sklearn.linear_model import LogisticRegression

    yield SimplePredictions(
        "logistic regression",
        _simple_columns(features),
        _probabilities(
            LogisticRegression(max_iter=max(20, min(200, _ITERATIONS // classes))),
            *_linear_columns(train, test, features),
            labels,
            classes,
        ),
    )
    if _is_table(features) and classes <= _MOST_BOOSTED:
        from sklearn.ensemble import HistGradientBoostingClassifier

        columns, is_category = _tree_columns(train, test, features)
        trees = _trees(outputs=1 if classes == 2 else classes)
        model = HistGradientBoostingClassifier(max_iter=trees, categorical_features=is_category, random_state=SEED)
        how = f"scikit-learn's HistGradientBoosting, {trees} iterations, of the raw columns"
        yield SimplePredictions("gradient boosting", how, _probabilities(model, *columns, labels, classes))


def regress(
    train: pl.DataFrame, test: pl.DataFrame, *, features: Mapping[str, Feature], labels: Numbers
) -> Iterator[SimplePredictions]:
    """Yield predictions of `test` by models of `train`, whose numbers are float64[rows, numbers] `labels`.

    The mean, linear regression and, of a table, gradient boosting.
    """
    yield SimplePredictions("the mean", "the mean of the training rows", np.tile(labels.mean(axis=0), (test.height, 1)))
    from sklearn.linear_model import Ridge

    known, asked = _linear_columns(train, test, features)
    predicted = Ridge(alpha=1e-3).fit(known, labels).predict(asked).reshape(test.height, -1)
    yield SimplePredictions("linear regression", _simple_columns(features), predicted)
    if _is_table(features):
        from sklearn.ensemble import HistGradientBoostingRegressor

        (known, asked), is_category = _tree_columns(train, test, features)
        trees = _trees(outputs=labels.shape[1])
        with _one_thread():
            each = [
                HistGradientBoostingRegressor(max_iter=trees, categorical_features=is_category, random_state=SEED)
                .fit(known, column)
                .predict(asked)
                for column in labels.T
            ]
        how = f"scikit-learn's HistGradientBoosting, {trees} iterations, of the raw columns"
        yield SimplePredictions("gradient boosting", how, np.stack(each, axis=1))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Several threads cost more than they save with so few rows, and round otherwise on each machine."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def _probabilities(model: Any, known: Any, asked: Any, labels: NDArray[np.int64], classes: int) -> Numbers:
    """Probabilities float64[rows, classes], 0 for a class that no training row had."""
    with warnings.catch_warnings(), _one_thread():
        # Iterations are bounded on purpose; a baseline that has not quite converged is one all the same.
        warnings.filterwarnings("ignore", message="lbfgs failed to converge", category=UserWarning)
        model.fit(known, labels)
    found = np.zeros((asked.shape[0], classes))
    found[:, model.classes_] = model.predict_proba(asked)
    return found


def _trees(*, outputs: int) -> int:
    return max(10, min(100, _MOST_TREES // outputs))


def _is_table(features: Mapping[str, Feature]) -> bool:
    return all(isinstance(feature, NumberFeature | CategoryFeature) for feature in features.values())


def _simple_columns(features: Mapping[str, Feature]) -> str:
    """What a linear model takes, in words."""
    said = {
        NumberFeature: "standardized numbers",
        CategoryFeature: "categories one-hot",
        ImageFeature: f"pixels, in at most {_SIDE} x {_SIDE} blocks",
        TextFeature: "how often words or characters occur (TF-IDF)",
    }
    kinds = dict.fromkeys(type(feature) for feature in features.values())
    return "of " + ", ".join(said[kind] for kind in kinds)


def _linear_columns(train: pl.DataFrame, test: pl.DataFrame, features: Mapping[str, Feature]) -> tuple[Any, Any]:
    """Columns for a linear model, [rows, columns] each: dense, or sparse where there are texts."""
    parts = [_linear_column(train[name], test[name], feature) for name, feature in features.items()]
    known, asked = zip(*parts, strict=True)
    if any(isinstance(feature, TextFeature) for feature in features.values()):
        from scipy.sparse import csr_matrix, hstack

        return csr_matrix(hstack(known)), csr_matrix(hstack(asked))
    return np.hstack(known), np.hstack(asked)


def _linear_column(train: pl.Series, test: pl.Series, feature: Feature) -> tuple[Any, Any]:
    match feature:
        case NumberFeature():
            return _standardized(train, test)
        case CategoryFeature():
            codes = _codes(train, most=_MOST_CATEGORIES)
            one_hot = np.eye(len(codes) + 1)
            return one_hot[_coded(train, codes)], one_hot[_coded(test, codes)]
        case ImageFeature():
            return _blocks(train, feature), _blocks(test, feature)
        case TextFeature():
            from sklearn.feature_extraction.text import TfidfVectorizer

            words = {"analyzer": "word", "token_pattern": r"\S+"} if feature.unit == "word" else {"analyzer": "char"}
            counted = TfidfVectorizer(**words, max_features=_MOST_WORDS, lowercase=False)
            try:
                return counted.fit_transform(train.fill_null("").to_list()), counted.transform(
                    test.fill_null("").to_list()
                )
            except ValueError:  # no text has a token
                return np.zeros((len(train), 1)), np.zeros((len(test), 1))


def _standardized(train: pl.Series, test: pl.Series) -> tuple[Numbers, Numbers]:
    """Value and whether it is missing, the median in its place."""
    known = train.drop_nulls().to_numpy().astype(np.float64)
    middle, deviation = (float(np.median(known)), float(known.std()) or 1.0) if len(known) else (0.0, 1.0)

    def of(values: pl.Series) -> Numbers:
        filled = (values.cast(pl.Float64).fill_null(middle).to_numpy() - middle) / deviation
        return np.stack([np.clip(np.nan_to_num(filled), -1e6, 1e6), values.is_null().to_numpy()], axis=1)

    return of(train), of(test)


def _codes(train: pl.Series, *, most: int) -> dict[str, int]:
    """The most frequent categories of training rows, each with its place."""
    counts = train.drop_nulls().value_counts(sort=True, name="rows").sort("rows", train.name, descending=[True, False])
    return {name: place for place, name in enumerate(counts[train.name][:most].to_list())}


def _coded(values: pl.Series, codes: Mapping[str, int]) -> NDArray[np.int64]:
    """Places; len(codes) for all other categories, and a missing one."""
    return values.replace_strict(codes, default=len(codes), return_dtype=pl.Int64).fill_null(len(codes)).to_numpy()


def _blocks(images: pl.Series, feature: ImageFeature) -> Numbers:
    """Means of blocks of pixels from 0 to 1, float64[rows, blocks]; memory holds the pixels of some rows at a time."""
    step = max(1, _MOST_PIXELS // feature.size)
    parts = [_blocks_of(images[begin : begin + step], feature) for begin in range(0, len(images), step)]
    return np.concatenate(parts)


def _blocks_of(images: pl.Series, feature: ImageFeature) -> Numbers:
    pixels: NDArray[np.floating[Any]] = (
        pixels_of(images, feature).to_numpy().reshape(-1, *feature.shape).astype(np.float32)
    )
    for axis, size in ((1, feature.height), (2, feature.width)):
        starts = np.unique(np.linspace(0, size, min(size, _SIDE), endpoint=False).astype(np.int64))
        widths = np.diff(np.append(starts, size)).astype(np.float32)
        shape = [1] * 4
        shape[axis] = len(starts)
        pixels = np.add.reduceat(pixels, starts, axis=axis) / widths.reshape(shape)
    return (pixels.reshape(len(pixels), -1) / feature.maximum).astype(np.float64)


def _tree_columns(
    train: pl.DataFrame, test: pl.DataFrame, features: Mapping[str, Feature]
) -> tuple[tuple[Numbers, Numbers], Sequence[bool]]:
    """Raw numbers with NaN for a missing one, codes of categories, and which columns are codes."""
    is_category = [isinstance(feature, CategoryFeature) for feature in features.values()]
    codes = {
        name: _codes(train[name], most=_MOST_CODES)
        for name, feature in features.items()
        if isinstance(feature, CategoryFeature)
    }

    def of(rows: pl.DataFrame) -> Numbers:
        columns = [
            _coded(rows[name], codes[name]).astype(np.float64)
            if name in codes
            else rows[name].cast(pl.Float64).to_numpy()  # a null becomes NaN
            for name in features
        ]
        return np.stack(columns, axis=1)

    return (of(train), of(test)), is_category
