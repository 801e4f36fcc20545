"""Reports of several kinds of pipelines, of made-up rows, and a headless browser that looks at them."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from headrace.components.evaluation.paired import intervals
from headrace.components.evaluation.report import Report
from headrace.components.evaluation.report_parts.all_parts import parts_of
from headrace.components.evaluation.report_parts.curves import curves
from headrace.components.evaluation.report_parts.part_figures import figures_of
from headrace.components.evaluation.report_parts.subject import CONFIDENCE, Subject
from headrace.components.evaluation.settings import Evaluate
from headrace.components.evaluation.worst_examples import drawn_examples, worst_examples
from headrace.components.plots import figures
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import CategoryLabel, Label, NumberLabel
from headrace.components.schema.split_settings import Split
from headrace.components.statistics.profile import profile
from headrace.components.tasks.task import Measurement
from headrace.components.tasks.variants import task_of

Outputs = Callable[[Mapping[str, np.ndarray]], np.ndarray]


class Function:
    """A model without a network: outputs as a function of raw inputs by name."""

    layers = ()
    trainable_weights = ()

    def __init__(self, features: Mapping[str, Feature], label: Label, of: Outputs) -> None:
        self.input = {name: _tensor(feature) for name, feature in features.items()}
        self.output = SimpleNamespace(shape=(None, len(label.classes) if isinstance(label, CategoryLabel) else 1))
        self.of = of

    def __call__(self, inputs: Mapping[str, np.ndarray], *, training: bool) -> np.ndarray:
        return self.of(inputs)

    def count_params(self) -> int:
        return 42


def _tensor(feature: Feature) -> SimpleNamespace:
    shape = feature.shape if isinstance(feature, ImageFeature) else (1,)
    dtype = "string" if isinstance(feature, CategoryFeature) else "float32"
    return SimpleNamespace(shape=(None, *shape), dtype=dtype)


def subject_of(
    rows: pl.DataFrame, of: Outputs, *, features: dict[str, Feature], label: Label, **settings: Any
) -> Subject:
    """What a model makes of the last 30 % of some rows, of which half are for training and 20 % for validation."""
    count = rows.height
    parts = {
        "train": rows[: count // 2],
        "validation": rows[count // 2 : count * 7 // 10],
        "test": rows[count * 7 // 10 :],
    }
    measurement = Measurement(
        model=Function(features, label, of),
        rows=parts["test"],
        features={**features, **label.columns},
        examples=rows.lazy(),
        rows_of_split=lambda name: parts[name].lazy(),
        split=Split(validation_fraction=0.2, test_fraction=0.3),
        judge=None,
        worst_examples=6,
    )
    found = task_of(label).outcome_rows(measurement)
    assert found is not None
    raw = [pl.col(name).alias(f"raw.{name}") for name, one in features.items() if isinstance(one, CategoryFeature)]
    ids = parts["test"].select("example_id")
    outcomes = pl.concat([ids, found, parts["test"].select(raw)], how="horizontal")
    return Subject(label, measurement, outcomes, Evaluate(**settings))


@pytest.fixture(scope="session")
def make_subject() -> Callable[..., Subject]:
    return subject_of


@pytest.fixture(scope="session")
def table() -> Subject:
    """Whether somebody buys, by age and town, and by a number that says nothing; as the model knows it."""
    draw, count = np.random.default_rng(0), 1200
    age, town = draw.uniform(18, 80, count), draw.choice(["Bern", "Genève", "Zürich"], count)
    noise = draw.normal(size=count)

    def of(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        score = (np.nan_to_num(inputs["age"][:, 0], nan=49) - 49) / 8 + (inputs["town"][:, 0] == "Bern")
        positive = 1 / (1 + np.exp(-score))
        return np.stack([1 - positive, positive], axis=1)

    truth = of({"age": age[:, np.newaxis], "town": town[:, np.newaxis]})[:, 1] > draw.random(count)
    rows = pl.DataFrame(
        {
            "example_id": pl.Series(range(count), dtype=pl.UInt64),
            "age": np.where(draw.random(count) < 0.1, np.nan, age),
            "town": town,
            "noise": noise,
            "buys": np.where(truth, "yes", "no"),
        }
    ).with_columns(pl.col("age").fill_nan(None))
    features: dict[str, Feature] = {
        "age": NumberFeature(nullable=True),
        "town": CategoryFeature(),
        "noise": NumberFeature(),
    }
    costs = {"false_positive_cost": 1, "false_negative_cost": 5}
    return subject_of(
        rows, of, features=features, label=CategoryLabel(name="buys", classes=("no", "yes")), threshold=costs
    )


@pytest.fixture(scope="session")
def images() -> Subject:
    """Which third of a picture is bright."""
    draw, count = np.random.default_rng(1), 400
    label = draw.integers(0, 3, count)
    pixels = draw.integers(0, 120, (count, 9, 9)).astype(np.uint8)
    for place, third in enumerate(label):
        pixels[place, 3 * third : 3 * third + 3] += 90

    def of(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        sums = inputs["picture"].reshape(-1, 3, 27).mean(axis=2) / 20
        exponents = np.exp(sums - sums.max(axis=1, keepdims=True))
        return exponents / exponents.sum(axis=1, keepdims=True)

    names = ("top", "middle", "bottom")
    rows = pl.DataFrame(
        {
            "example_id": pl.Series(range(count), dtype=pl.UInt64),
            "picture": pl.Series(pixels.reshape(count, -1).tolist(), dtype=pl.Array(pl.UInt8, 81)),
            "third": [names[one] for one in label],
        }
    )
    features: dict[str, Feature] = {"picture": ImageFeature(height=9, width=9)}
    # Attributions need a network's gradients: they have tests of their own.
    return subject_of(rows, of, features=features, label=CategoryLabel(name="third", classes=names), attributions=0)


@pytest.fixture(scope="session")
def number() -> Subject:
    """A number that follows from two others, with noise."""
    draw, count = np.random.default_rng(2), 600
    x, z = draw.normal(size=count), draw.normal(size=count)
    rows = pl.DataFrame(
        {
            "example_id": pl.Series(range(count), dtype=pl.UInt64),
            "x": x,
            "z": z,
            "y": x**2 + z + draw.normal(0, 0.3, count),
        }
    )
    features: dict[str, Feature] = {"x": NumberFeature(), "z": NumberFeature()}
    return subject_of(
        rows, lambda inputs: inputs["x"] ** 2 + inputs["z"], features=features, label=NumberLabel(name="y", unit="m")
    )


def report_of(subject: Subject) -> Report:
    """The report, as `headrace evaluate` makes it, of a training of three epochs."""
    measurement, label = subject.measurement, subject.label
    outcome = subject.task.outcome(measurement)
    lines = curves(subject)
    made = parts_of(subject, lines, settings={"epochs": 3, "optimizer": {"kind": "adam", "learning_rate": 0.01}})
    history = pl.DataFrame({"epoch": [1, 2, 3], "loss": [1.0, 0.5, 0.4], "validation_loss": [1.1, 0.6, 0.7]})
    examples, inputs = measurement.rows, subject.inputs
    counts = {name: [3, 2, 1][: len(subject.task.classes)] for name in ("train", "validation", "test")}
    balance = (
        {"class_balance": figures.class_balance(counts, classes=subject.task.classes)} if subject.task.classes else {}
    )
    return Report(
        title="made up",
        description="Rows that a test made up",
        label=label,
        features=list(inputs),
        outcome=outcome,
        facts={"MLflow run": "0" * 32, "Seed": "1", "Device": "cpu"},
        splits={"train": 600, "validation": 240, "test": examples.height},
        profiles=profile(measurement.examples, features={**inputs, **label.columns}),
        figures={
            "learning_curves": figures.learning_curves(history, best_epoch=2),
            **outcome.figures,
            **balance,
            **figures_of(lines, made, unit=subject.task.unit),
        },
        worst=worst_examples(examples, outcome.worst, features=inputs),
        drawn=drawn_examples(examples, count=6, label=tuple(label.columns), features=inputs),
        intervals=intervals(subject.task, subject.outcomes, confidence=CONFIDENCE),
        made=made,
        curves=lines,
        history=history,
        links={"MLflow run, page": "https://mlflow.example/#/experiments/1/runs/2"},
    )


@pytest.fixture(scope="session")
def make_report() -> Callable[[Subject], Report]:
    return report_of


class Browser:
    """Headless Chromium, spoken to by its own protocol over pipes."""

    def __init__(self, process: subprocess.Popen[bytes], send: int, receive: int) -> None:
        self.process, self.send, self.receive = process, send, receive
        self.number, self.rest, self.requests = 0, b"", []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What Chromium answers; requests that the page makes are kept meanwhile."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if hasattr(self, "session"):
            message["sessionId"] = self.session
        os.write(self.send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, page: str, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Show a page as a screen of this width does."""
        self.requests = []
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        frame = self.call("Page.getFrameTree")["frameTree"]["frame"]["id"]
        self.call("Page.setDocumentContent", frameId=frame, html=page)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = os.read(self.receive, 1 << 16)
            assert part, "Chromium has ended"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium")
    profile_folder = tmp_path_factory.mktemp("chromium")
    (read, send), (receive, write) = os.pipe(), os.pipe()
    options = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe"
    command = f'exec "$0" {options} "--user-data-dir=$1" about:blank 3<&{read} 4>&{write}'
    process = subprocess.Popen(
        ["bash", "-c", command, program, str(profile_folder)],
        pass_fds=(read, write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile_folder)},
    )
    os.close(read)
    os.close(write)
    try:
        yield Browser(process, send, receive)
    finally:
        process.kill()
        process.wait()
        os.close(send)
        os.close(receive)


@pytest.fixture(scope="session")
def kept_pages() -> Path | None:
    """A folder for pages and pictures of them, for who wants to look: HEADRACE_KEEP_PAGES."""
    folder = os.environ.get("HEADRACE_KEEP_PAGES")
    return Path(folder) if folder else None
