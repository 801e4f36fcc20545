"""How often each gate promotes a challenger, of pairs of models whose true difference is known.

`python bench/gate/luck.py made pairs.npz`     makes the pairs: labels and predictions, bool[pairs, rows], by case
`python bench/gate/luck.py headrace pairs.npz` shares of promotions; also: 0.1, tfma, mlflow, evidently, deepchecks

evidently and deepchecks are in no environment of Headrace's: call this file by the Python of one that has them. They
import with `evidently==0.7.23 'pandas<3'`, and `deepchecks==0.19.1 'pandas<3' 'scikit-learn<1.5' 'setuptools<81'`.
"""

import logging
import sys
from collections.abc import Callable

import numpy as np

CASES = {
    "equal, 167 rows": (167, 0.0),
    "worse by 1 point, 167 rows": (167, -0.01),
    "better by 3 points, 167 rows": (167, 0.03),
    "better by 3 points, 1000 rows": (1000, 0.03),
}
PAIRS, AGREE, ACCURACY = 400, 0.9, 0.82
Gate = Callable[[np.ndarray, np.ndarray, np.ndarray], bool]  # labels, challenger, champion, int[rows] each


def made() -> dict[str, np.ndarray]:
    """Labels, challengers and champions, int8[3, pairs, rows], for each case."""
    draw, found = np.random.default_rng(1), {}
    for name, (rows, gain) in CASES.items():
        kind = draw.choice(3, (PAIRS, rows), p=[AGREE, (1 - AGREE + gain) / 2, (1 - AGREE - gain) / 2])
        both = draw.random((PAIRS, rows)) < (ACCURACY - (1 - AGREE) / 2) / AGREE
        labels = draw.integers(0, 2, (PAIRS, rows))
        sides = [np.where(np.where(kind == 0, both, kind == one), labels, 1 - labels) for one in (1, 2)]
        found[name] = np.stack([labels, *sides]).astype(np.int8)
    return found


def accuracies(labels: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Of challenger and champion."""
    return float((ours == labels).mean()), float((theirs == labels).mean())


def headrace() -> Gate:
    """`compare: {metric: accuracy}`."""
    from headrace.components.evaluation.exact import paired_share_interval

    def gate(labels: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> bool:
        right, their_right = ours == labels, theirs == labels
        better, worse = int((right & ~their_right).sum()), int((their_right & ~right).sum())
        return paired_share_interval(better, worse, of=len(labels), confidence=0.95).low > 0

    return gate


def before() -> Gate:
    """Headrace before decision 35: a higher accuracy."""
    return lambda *pair: accuracies(*pair)[0] > accuracies(*pair)[1]


def tfma() -> Gate:
    """The rule of TFMA's metrics_validator: `absolute: 0`, higher is better, the difference at least that."""
    return lambda *pair: accuracies(*pair)[0] - accuracies(*pair)[1] >= 0


def mlflow() -> Gate:
    """`validate_evaluation_results` with the smallest `min_absolute_change` that it takes for an improvement."""
    import mlflow
    from mlflow.models import MetricThreshold
    from mlflow.models.evaluation import EvaluationResult
    from mlflow.models.evaluation.validation import ModelValidationFailedException

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # else two lines for each pair
    rule = {"accuracy": MetricThreshold(min_absolute_change=1e-9, greater_is_better=True)}

    def gate(*pair: np.ndarray) -> bool:
        ours, theirs = (EvaluationResult({"accuracy": one}, {}) for one in accuracies(*pair))
        try:
            mlflow.validate_evaluation_results(
                candidate_result=ours, baseline_result=theirs, validation_thresholds=rule
            )
        except ModelValidationFailedException:
            return False
        return True

    return gate


def evidently() -> Gate:
    """`Accuracy(tests=[gt(Reference(relative=1e-9))])`, the champion's predictions as the reference."""
    import pandas as pd
    from evidently import BinaryClassification, DataDefinition, Dataset, Report
    from evidently.metrics import Accuracy
    from evidently.tests import Reference, gt

    columns = DataDefinition(
        classification=[BinaryClassification(target="target", prediction_labels="prediction")],
        categorical_columns=["target", "prediction"],
    )
    report = Report([Accuracy(tests=[gt(Reference(relative=1e-9))])])

    def gate(labels: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> bool:
        sides = [
            Dataset.from_pandas(pd.DataFrame({"target": labels, "prediction": one}), data_definition=columns)
            for one in (ours, theirs)
        ]
        tests = report.run(*sides).dict()["tests"]
        return all("SUCCESS" in str(test["status"]) for test in tests)

    return gate


def deepchecks() -> Gate:
    """`TrainTestPerformance`, degradation below 0, the champion's predictions as those of training rows."""
    import pandas as pd
    from deepchecks.tabular import Dataset
    from deepchecks.tabular.checks import TrainTestPerformance

    def gate(labels: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> bool:
        data = Dataset(pd.DataFrame({"x": np.zeros(len(labels))}), label=labels, cat_features=[])
        check = TrainTestPerformance(scorers=["accuracy"])
        check.add_condition_train_test_relative_degradation_less_than(0)
        found = check.run(data, data, y_pred_train=theirs, y_pred_test=ours)
        return all(str(result.category).endswith("PASS") for result in found.conditions_results)

    return gate


GATES = {
    "headrace": headrace,
    "0.1": before,
    "tfma": tfma,
    "mlflow": mlflow,
    "evidently": evidently,
    "deepchecks": deepchecks,
}

if __name__ == "__main__":
    name, file = sys.argv[1:]
    if name == "made":
        np.savez_compressed(file, **made())
    else:
        gate = GATES[name]()
        for case, (labels, ours, theirs) in np.load(file).items():
            share = np.mean([gate(*pair) for pair in zip(labels, ours, theirs, strict=True)])
            print(f"{name}: {case}: {100 * share:.1f} %")
