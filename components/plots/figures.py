"""Figures of a training run and of a model's predictions.

Each function returns a matplotlib Figure that no global state knows of; `write_png` and `svg` turn it into bytes that
are the same on every run. The colours are Okabe and Ito's, which colour-blind readers can distinguish.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from headrace.components.plots.curve import Curve

BLUE, ORANGE, INK, MUTED, GRID = "#0072b2", "#d55e00", "#1b2330", "#667085", "#e4e7ec"
# Colours become CSS variables in the page, so that a figure follows its light or dark theme.
_VARIABLES = {BLUE: "--blue", ORANGE: "--orange", INK: "--ink", MUTED: "--muted", GRID: "--line"}
_STYLE: Any = {  # Any: matplotlib types its settings by name, all 300 of them
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.size": 10,
    "grid.color": GRID,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",  # real text, in the page's own font
    "svg.hashsalt": "headrace",  # otherwise the ids in the file are random
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$x"
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 9,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 9,
}
Points = tuple[np.ndarray, np.ndarray]
_NAMED_CLASSES = 20  # above it, cells and names are too small to read
_MOST_POINTS = 2000


@mpl.rc_context(_STYLE)
def learning_curves(history: pl.DataFrame, *, best_epoch: int | None) -> Figure:
    """Return loss and metric by epoch, training and, if there is one, validation; `history` is history.csv, a table."""
    shown = [name for name in history.columns if name not in ("epoch", "seconds")]
    names = list(dict.fromkeys(name.removeprefix("validation_") for name in shown))
    figure = Figure(figsize=(4.6 * len(names), 3.1), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for column, title, color in ((name, "training", BLUE), (f"validation_{name}", "validation", ORANGE)):
            if column in history.columns:
                axes.plot(history["epoch"], history[column], color=color, label=title, marker=_marker(history.height))
        if best_epoch is not None:
            axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=":", zorder=1, label="best epoch")
        axes.set_title(name.replace("_", " ").capitalize())
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.legend(loc="best", fontsize=9)
    return figure


@mpl.rc_context(_STYLE)
def confusion(matrix: np.ndarray, *, classes: Sequence[str]) -> Figure:
    """Return true classes (rows) against predicted ones (columns); shades are shares of the row."""
    size = 2.6 + 0.42 * len(classes) if len(classes) <= _NAMED_CLASSES else 5
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= _NAMED_CLASSES:
        for (row, column), count in np.ndenumerate(matrix):
            color = "white" if shares[row, column] > 0.5 else (INK if count else MUTED)
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=9)
        axes.set_xticks(range(len(classes)), [_short(name) for name in classes], **_slant(classes))
        axes.set_yticks(range(len(classes)), [_short(name) for name in classes])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set(title="Confusion matrix", xlabel="predicted", ylabel="true")
    return figure


@mpl.rc_context(_STYLE)
def class_balance(counts: Mapping[str, Sequence[int]], *, classes: Sequence[str]) -> Figure:
    """Return each class's share of every split; `counts` are examples by class, by split."""
    width = 0.8 / len(counts)
    figure = Figure(figsize=(4.8, 3.1), layout="constrained")
    axes = figure.subplots()
    colors = dict(zip(counts, (BLUE, ORANGE, MUTED), strict=False))
    for index, (split, found) in enumerate(counts.items()):
        places = np.arange(len(classes)) + (index - (len(counts) - 1) / 2) * width
        axes.bar(places, np.array(found) / max(sum(found), 1), width * 0.9, color=colors[split], label=split)
    if len(classes) <= _NAMED_CLASSES:
        axes.set_xticks(range(len(classes)), [_short(name) for name in classes], **_slant(classes))
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_title("Class balance", pad=24)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(counts), fontsize=9, borderaxespad=0.2)
    return figure


@mpl.rc_context(_STYLE)
def roc(curve: Curve, *, positive: str) -> Figure:
    """Return the ROC curve, with chance as a dotted line."""
    figure, axes = _square()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="chance")
    axes.plot(curve.x, curve.y, color=BLUE, label=f"area {curve.area:.3f}")
    axes.set(title="ROC", xlabel=f"false positive rate ({_short(positive)})", ylabel="true positive rate")
    axes.legend(loc="lower right", fontsize=9)
    return figure


@mpl.rc_context(_STYLE)
def precision_recall(curve: Curve, *, positive: str, positive_fraction: float) -> Figure:
    """Return precision over recall, with the share of positive examples (chance) as a dotted line."""
    figure, axes = _square()
    axes.axhline(positive_fraction, color=MUTED, linewidth=1, linestyle=":", label="chance")
    axes.step(np.append(0, curve.x), np.append(curve.y[:1], curve.y), color=BLUE, label=f"average {curve.area:.3f}")
    axes.set(title="Precision and recall", xlabel=f"recall ({_short(positive)})", ylabel="precision")
    axes.legend(loc="lower left", fontsize=9)
    return figure


@mpl.rc_context(_STYLE)
def calibration(probability: np.ndarray, right: np.ndarray, rows: np.ndarray) -> Figure:
    """Return the share that is right over the predicted probability of each bin, its point as large as its rows."""
    figure, axes = _square()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="as sure as right")
    axes.plot(probability, right, color=BLUE, linewidth=1)
    axes.scatter(probability, right, s=12 + 150 * rows / rows.max(), color=BLUE, alpha=0.6, linewidth=0, label="model")
    axes.set(title="Calibration", xlabel="predicted probability", ylabel="share that is right")
    axes.legend(loc="upper left", fontsize=9)
    return figure


@mpl.rc_context(_STYLE)
def costs_by_threshold(lines: Mapping[str, Points], *, chosen: float) -> Figure:
    """Return the cost of a row over the threshold, a line for each split, and the threshold that was chosen."""
    figure = Figure(figsize=(4.8, 3.8), layout="constrained")
    axes = figure.subplots()
    for (name, (x, y)), color in zip(lines.items(), (MUTED, BLUE), strict=True):
        axes.plot(x, y, color=color, label=name)
    axes.axvline(chosen, color=ORANGE, linewidth=1, linestyle=":", label=f"chosen: {chosen:.2f}")
    axes.set(title="Cost by threshold", xlabel="threshold", ylabel="cost of a row", xlim=(0, 1), ylim=(0, None))
    axes.legend(loc="best", fontsize=9)
    return figure


@mpl.rc_context(_STYLE)
def error_shares(errors: np.ndarray, shares: np.ndarray, *, unit: str) -> Figure:
    """Return the share of rows whose absolute error is at most so large."""
    figure = Figure(figsize=(4.8, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.step(errors, shares, where="post", color=BLUE)
    axes.set(title="Rows within an error", xlabel=with_unit("absolute error", unit), ylabel="share of rows")
    axes.set(xlim=(0, None), ylim=(0, 1.02))
    return figure


@mpl.rc_context(_STYLE)
def predicted_against_true(labels: np.ndarray, predictions: np.ndarray, *, unit: str) -> Figure:
    """Return one point per example, with the line on which a perfect model's points lie."""
    figure = Figure(figsize=(4.8, 3.8), layout="constrained")
    axes = figure.subplots()
    ends = [min(labels.min(), predictions.min()), max(labels.max(), predictions.max())]
    axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=":", label="perfect")
    _points(axes, labels, predictions)
    axes.set(title="Predicted against true", xlabel=with_unit("true", unit), ylabel=with_unit("predicted", unit))
    axes.legend(loc="upper left", fontsize=9)
    return figure


@mpl.rc_context(_STYLE)
def residuals(labels: np.ndarray, predictions: np.ndarray, *, unit: str) -> Figure:
    """Return errors (predicted minus true), over what was predicted and as a histogram."""
    figure = Figure(figsize=(4.8, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    left.axhline(0, color=MUTED, linewidth=1, linestyle=":")
    _points(left, predictions, predictions - labels)
    left.set(title="Residuals", xlabel=with_unit("predicted", unit), ylabel=with_unit("error", unit))
    errors = (predictions - labels).astype(np.float64)
    half = max(np.ptp(errors) / 2, 1e-6 * np.abs(errors).max(), 1e-12)  # equal errors have no range to cut into bins
    middle = (errors.min() + errors.max()) / 2
    ends = (middle - half, middle + half)
    right.hist(errors, bins=20, range=ends, orientation="horizontal", color=BLUE, alpha=0.75)
    left.xaxis.set_major_locator(MaxNLocator(nbins=5))
    right.set_xlabel("examples")
    right.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=3))
    return figure


@mpl.rc_context(_STYLE)
def data_and_fit(data: Mapping[str, Points], fit: Points, *, feature: str, label: str) -> Figure:
    """Return points by the name of their split, float64[points] each way, and the line that the model draws."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    colors = dict(zip(data, (MUTED, INK, BLUE), strict=False))
    for name, (x, y) in data.items():
        every = -(-len(x) // _MOST_POINTS)
        axes.plot(x[::every], y[::every], ".", color=colors[name], alpha=0.55, markeredgewidth=0, label=name)
    axes.plot(*fit, color=ORANGE, label="model")
    axes.set(title="Data and fit", xlabel=feature, ylabel=label)
    heights = np.concatenate([y for _, y in data.values()])
    room = 0.25 * (np.ptp(heights) or 1)  # a wild fit may leave the picture: the data must stay visible
    axes.set_ylim(heights.min() - room, heights.max() + room)
    axes.legend(loc="best", fontsize=9)
    return figure


@mpl.rc_context(_STYLE)
def cross_entropy_by_place(nats: np.ndarray, *, unit: str) -> Figure:
    """Mean cross-entropy after 1, 2, ... tokens of a text, float64[length]."""
    figure = Figure(figsize=(9.2, 3.1), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(1, len(nats) + 1), nats, color=BLUE, marker=_marker(len(nats)))
    axes.set(title="Cross-entropy by place", xlabel=f"{unit}s that were seen", ylabel=f"nats a {unit}", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@mpl.rc_context(_STYLE)
def errors_by_value(errors: Mapping[str, Mapping[Any, Sequence[float]]], *, name: str) -> Figure:
    """Return errors by the values of a setting, for each split its mean line and every run as a point."""
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for (split, found), color in zip(errors.items(), (BLUE, ORANGE, MUTED), strict=False):
        places = range(len(found))
        axes.plot(places, [np.mean(values) for values in found.values()], color=color, label=split)
        for place, values in zip(places, found.values(), strict=True):
            axes.plot([place] * len(values), values, "o", color=color, alpha=0.6, markersize=4)
    axes.set_xticks(range(len(next(iter(errors.values())))), [str(value) for value in next(iter(errors.values()))])
    axes.set(title="Errors", xlabel=name, ylabel="error", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(loc="best", fontsize=9)
    return figure


@mpl.rc_context(_STYLE)
def worst_pictures(pictures: Sequence[np.ndarray], captions: Sequence[str]) -> Figure:
    """Return a sheet of pictures, uint8[height, width(, channels)] each, with a caption above every one."""
    columns = min(len(pictures), 6) or 1
    rows = -(-len(pictures) // columns) or 1
    figure = Figure(figsize=(1.7 * columns, 1.95 * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, picture, caption in zip(grid, pictures, captions, strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(caption, fontsize=9, fontweight="normal", loc="center")
    return figure


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file that holds no date and no version, so that equal figures are equal files."""
    with mpl.rc_context(_STYLE), _missing_glyphs_are_boxes():
        figure.savefig(path, format="png", dpi=144, facecolor="white", metadata={"Software": None})


def svg(figure: Figure, *, name: str) -> str:
    """Return a figure as an `<svg>` element, for a page that defines --blue, --orange, --ink, --muted and --line.

    Its ids begin with `name`, as no other figure's of the page do.
    """
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE), _missing_glyphs_are_boxes():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)  # it would reach into the whole page
    text = re.sub(r' width="[^"]*pt" height="[^"]*pt"', "", text, count=1)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return text.strip()


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
    return figure, axes


def _points(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    every = -(-len(x) // _MOST_POINTS)
    axes.plot(x[::every], y[::every], ".", color=BLUE, alpha=0.55, markersize=6, markeredgewidth=0)


def _marker(epochs: int) -> str:
    return "o" if epochs == 1 else ""  # a line of one point would be invisible


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"


def _slant(classes: Sequence[str]) -> dict[str, Any]:
    return {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(len, classes)) > 4 else {}


def with_unit(name: str, unit: str) -> str:
    """Label of an axis."""
    return f"{name} ({unit})" if unit else name


@contextmanager
def _missing_glyphs_are_boxes() -> Iterator[None]:
    """A class name may be in a script that the bundled font lacks: no reason to warn at each letter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield
