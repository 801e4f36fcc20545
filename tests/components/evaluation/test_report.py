"""The report page, figures and worst examples."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from PIL import Image

from headrace.components.evaluation.drift import Drift, compare
from headrace.components.evaluation.report import Report, render
from headrace.components.evaluation.settings import DriftLimits
from headrace.components.evaluation.worst_examples import drawn_examples, worst_examples
from headrace.components.plots import figures
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import CategoryLabel, NumberLabel, NumbersLabel, NumberTarget
from headrace.components.statistics.profile import profile, profile_of, summarize_table
from headrace.components.tasks.category_outcome import category_outcome
from headrace.components.tasks.number_outcome import number_outcome, numbers_outcome

HOSTILE = '</td></svg><script>alert(1)</script><img src=x onerror="alert(1)">\'"$_{'


class _Page(HTMLParser):
    """Collects tags with their attributes, and checks that every tag that is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _history() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "epoch": [1, 2],
            "loss": [1.0, 0.5],
            "validation_loss": [1.1, 0.6],
            "accuracy": [0.5, 0.8],
            "validation_accuracy": [0.4, 0.7],
            "seconds": [1.0, 1.0],
        }
    )


def _category_report(classes: tuple[str, ...], *, column: str = "age", examples: int = 30) -> Report:
    random = np.random.default_rng(0)
    label = CategoryLabel(name="kind", classes=classes)
    probabilities = random.dirichlet(np.ones(len(classes)), examples)
    labels = np.arange(examples) % len(classes)
    outcome = category_outcome(labels, probabilities, label=label, worst_examples=5)
    features: dict[str, Feature] = {column: NumberFeature(), "word": CategoryFeature()}
    table = pl.DataFrame({column: random.random(examples), "word": [classes[0]] * examples})
    drawn = table.with_columns(kind=pl.lit(classes[1]), example_id=pl.int_range(examples, dtype=pl.UInt64))
    counts = {name: np.bincount(labels, minlength=len(classes)).tolist() for name in ("train", "validation", "test")}
    return Report(
        title="demo",
        description=classes[-1],
        label=label,
        features=list(features),
        outcome=outcome,
        facts={"Git commit": classes[0]},
        splits={"train": examples, "validation": examples, "test": examples},
        profiles=profile(table.lazy(), features=features),
        figures={
            "learning_curves": figures.learning_curves(_history(), best_epoch=2),
            "class_balance": figures.class_balance(counts, classes=classes),
            **outcome.figures,
        },
        worst=worst_examples(table, outcome.worst, features=features),
        drawn=drawn_examples(drawn, count=3, label=("kind",), features=features),
        drift=_drift(table, features),
    )


def _drift(table: pl.DataFrame, features: dict[str, Feature]) -> Drift:
    """Every number doubled, a category renamed, and a column more."""
    number, word = features
    before = table.select(pl.col(number) * 2, pl.col(word) + HOSTILE)
    previous = profile_of(summarize_table(before, columns=features))
    summary = summarize_table(table.with_columns(more=pl.lit(1.0)), columns={**features, "more": NumberFeature()})
    return compare(previous, summary, label=word, limits=DriftLimits())


@pytest.mark.parametrize("number_of_classes", [2, 3, 30])
def test_the_page_is_whole_and_fetches_nothing(number_of_classes: int) -> None:
    classes = tuple(f"class {index}" for index in range(number_of_classes))
    html = render(_category_report(classes))

    page = _Page(html)
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    addresses = [
        value or ""
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name.endswith(("href", "src"))
    ]
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "added more" in html
    assert html.count(">warn<") >= 3


def test_several_numbers_have_a_pair_of_figures_each() -> None:
    draw = np.random.default_rng(0)
    labels, errors = draw.normal(100, 10, (30, 2)), draw.normal(0, 1, (30, 2))
    label = NumbersLabel(targets={"Weight": NumberTarget(unit="lb"), HOSTILE: NumberTarget()})
    outcome = numbers_outcome(labels, labels + errors, label=label, worst_examples=5)
    base = _category_report(("a", "b"))
    drawn = {"learning_curves": base.figures["learning_curves"], **outcome.figures}
    html = render(replace(base, label=label, outcome=outcome, figures=drawn, worst=[]))
    assert _Page(html).open == []
    assert html.count('aria-label="Predicted against true"') == html.count('aria-label="Residuals"') == 2
    assert "Weight.r2" in html
    assert HOSTILE not in html


def test_hostile_names_are_text_and_nothing_else() -> None:
    html = render(_category_report((f"a{HOSTILE}", f"b{HOSTILE}"), column=HOSTILE))

    page = _Page(html)
    assert page.open == []
    assert {"script", "img"}.isdisjoint(tag for tag, _ in page.tags)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (_category_report(("no", "yes")) for _ in range(2))

    assert render(first) == render(second)
    for name in first.figures:
        for number, report in enumerate((first, second)):
            figures.write_png(report.figures[name], tmp_path / f"{name}{number}.png")
        assert (tmp_path / f"{name}0.png").read_bytes() == (tmp_path / f"{name}1.png").read_bytes()


def test_a_figure_takes_the_colours_of_the_page() -> None:
    drawn = figures.svg(figures.learning_curves(_history(), best_epoch=None), name="learning_curves")

    assert drawn.startswith("<svg")
    assert "var(--blue)" in drawn
    assert figures.BLUE not in drawn


def test_class_names_in_any_script_are_drawn_without_a_warning(tmp_path: Path) -> None:
    matrix = np.array([[3, 1], [0, 2]])
    figures.write_png(figures.confusion(matrix, classes=("猫", "$\\frac{")), tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as image:
        assert image.info.keys() <= {"dpi"}  # no date, no version


def test_examples_are_drawn_by_their_ids_alone_and_shown_with_their_labels() -> None:
    features = {"size": NumberFeature(), "text": TextFeature(length=3)}
    ids = pl.int_range(50, dtype=pl.UInt64, eager=True)
    table = pl.DataFrame({"example_id": ids, "size": ids.cast(pl.Float64), "text": ids.cast(pl.String), "kind": "a"})
    drawn = drawn_examples(table, count=5, label=("kind",), features=features)
    assert len(drawn) == 5
    assert {one.label for one in drawn} == {"a"}
    assert drawn == drawn_examples(table.reverse(), count=5, label=("kind",), features=features)
    assert [one.values[0] for one in drawn] != [one.values[0] for one in sorted(drawn, key=lambda one: one.values)]
    assert len(drawn_examples(table, count=100, label=("kind",), features=features)) == 50
    assert drawn_examples(table, count=1, label=(), features=features)[0].label == ""


def test_worst_examples_show_the_picture_with_white_at_255() -> None:
    feature = ImageFeature(height=2, width=2, maximum=16)
    images = pl.DataFrame({"image": pl.Series([[0] * 4, [0, 8, 16, 16]], dtype=pl.Array(pl.UInt8, 4))})
    label = CategoryLabel(name="digit", classes=("0", "1"))
    outcome = category_outcome(np.array([0, 1]), np.array([[0.9, 0.1], [0.7, 0.3]]), label=label, worst_examples=1)

    (worst,) = worst_examples(images, outcome.worst, features={"image": feature})

    assert (worst.mistake.true, worst.mistake.predicted, worst.mistake.detail) == ("1", "0", "70.0%")
    assert worst.mistake.wrong
    assert worst.picture is not None
    assert worst.picture.tolist() == [[0, 128], [255, 255]]
    assert isinstance(figures.worst_pictures([worst.picture], ["0, not 1"]), Figure)


def _number_report(*, measured_on: Literal["test", "train"]) -> Report:
    x = np.linspace(0, 1, 20)
    label = NumberLabel(name="y", unit="m")
    outcome = number_outcome(x, x + 0.1, label=label, worst_examples=2)
    table, features = pl.DataFrame({"x": x, "y": x}), {"x": NumberFeature()}
    history = _history().select("epoch", "seconds", "loss", pl.col("accuracy").alias("mean_absolute_error"))
    drawn = {
        "learning_curves": figures.learning_curves(history, best_epoch=2),
        "data_and_fit": figures.data_and_fit({"train": (x, x)}, (x, x + 0.1), feature="x", label="y (m)"),
    }
    return Report(
        title="line",
        description="a line",
        label=label,
        features=["x"],
        outcome=outcome,
        facts={},
        splits={"train": 20, "validation": 0, "test": 0},
        profiles=profile(table.lazy(), features={**features, "y": NumberFeature()}),
        figures={**drawn, **outcome.figures},
        worst=worst_examples(table, outcome.worst, features=features),
        measured_on=measured_on,
    )


def test_a_page_says_that_nothing_was_held_out() -> None:
    html = render(_number_report(measured_on="train"))
    assert _Page(html).open == []
    assert "Nothing was held out" in html
    assert "On the test split" not in html
    assert "Test examples" not in html
    assert "Nothing was held out" not in render(_number_report(measured_on="test"))


def test_data_and_fit_are_on_the_page_and_there_are_curves_without_validation() -> None:
    report = _number_report(measured_on="train")
    assert "Data and fit" in render(report)
    assert [axes.get_title(loc="left") for axes in report.figures["learning_curves"].axes] == [
        "Loss",
        "Mean absolute error",
    ]
    assert [len(axes.lines) for axes in report.figures["learning_curves"].axes] == [2, 2]  # training, best epoch


def test_errors_by_value_have_a_place_for_each_value() -> None:
    errors = {split: {1: [0.5, 0.6], 15: [0.1, 0.2]} for split in ("training", "validation")}
    (axes,) = figures.errors_by_value(errors, name="degree").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "15"]
