"""Models without a network, of scikit-learn: what a network must be better than."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.features import Feature

SEED = 20_230_217
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
    return all(feature.is_single for feature in features.values())


def _simple_columns(features: Mapping[str, Feature]) -> str:
    """What a linear model takes, in words."""
    return "of " + ", ".join(dict.fromkeys(feature.simple_columns for feature in features.values()))


def _linear_columns(train: pl.DataFrame, test: pl.DataFrame, features: Mapping[str, Feature]) -> tuple[Any, Any]:
    """Columns for a linear model, [rows, columns] each: dense, or sparse where there are texts."""
    parts = [feature.simple_values(train[name], test[name]) for name, feature in features.items()]
    known, asked = zip(*parts, strict=True)
    if TextFeature.among(features):
        from scipy.sparse import csr_matrix, hstack

        return csr_matrix(hstack(known)), csr_matrix(hstack(asked))
    return np.hstack(known), np.hstack(asked)


def _tree_columns(
    train: pl.DataFrame, test: pl.DataFrame, features: Mapping[str, Feature]
) -> tuple[tuple[Numbers, Numbers], Sequence[bool]]:
    """Raw numbers with NaN for a missing one, codes of categories, and which columns are codes."""
    parts = [feature.tree_values(train[name], test[name]) for name, feature in features.items()]
    known, asked = zip(*parts, strict=True)
    is_category = [feature.input_dtype == "string" for feature in features.values()]
    return (np.stack(known, axis=1), np.stack(asked, axis=1)), is_category
