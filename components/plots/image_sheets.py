"""Figures of many small images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from headrace.components.plots.sheet import sheet

_INCHES = 0.52  # of one image


def samples(images: NDArray[Any], *, columns: int) -> Figure:
    """Return a sheet of images, [images, height, width, channels] from 0 to 255."""
    figure, axes = _axes(columns, -(-len(images) // columns))
    _show(axes, sheet(images, columns=columns))
    return figure


def development(by_epoch: Mapping[int, NDArray[Any]], *, columns: int) -> Figure:
    """Return a line of images, [images, height, width, channels] from 0 to 255, for each epoch, named at its side."""
    figure, axes = _axes(columns, len(by_epoch))
    lines = [images[:columns] for images in by_epoch.values()]
    _show(axes, sheet(np.concatenate(lines), columns=len(lines[0])))
    height = lines[0].shape[1] + 1
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([(place + 0.5) * height for place in range(len(lines))], [f"epoch {epoch}" for epoch in by_epoch])
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    return figure


def _axes(columns: int, rows: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_INCHES * columns + 0.8, _INCHES * rows + 0.2), layout="constrained")
    return figure, figure.subplots()


def _show(axes: Axes, whole: NDArray[np.uint8]) -> None:
    axes.imshow(whole, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
