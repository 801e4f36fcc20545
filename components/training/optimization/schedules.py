"""Learning rates that change in the course of a training."""

from collections.abc import Callable
from math import pi
from typing import Any

import keras
from keras import ops

from headrace.components.training.settings import Constant, Cosine, Exponential, LearningRate, OneCycle, Piecewise

Rate = Callable[[Any], Any]


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate as a function of the count of updates that are done (float32).

    Keras can't save it, and need not: models are saved without their optimizer.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate

    def __call__(self, step: Any) -> Any:
        """Return the learning rate (float32) of the update after `step` updates."""
        return ops.cast(self._rate(ops.cast(step, "float32")), "float32")


def build_learning_rate(learning_rate: LearningRate, *, updates_per_epoch: float, epochs: int) -> float | Schedule:
    """Return a number as it is, or a schedule over `epochs` epochs of `updates_per_epoch` updates each."""
    total = updates_per_epoch * epochs
    match learning_rate:
        case Constant(peak=peak):
            return Schedule(_after_warmup(lambda _: peak, peak, learning_rate.warmup_epochs * updates_per_epoch))
        case Cosine(peak=peak):
            warmup = learning_rate.warmup_epochs * updates_per_epoch
            falling = _cosine(peak, peak * learning_rate.final_share, max(1.0, total - warmup - 1))
            return Schedule(_after_warmup(falling, peak, warmup))
        case Exponential(peak=peak):
            falling = keras.optimizers.schedules.ExponentialDecay(
                peak, learning_rate.decay_epochs * updates_per_epoch, learning_rate.decay_rate, learning_rate.staircase
            )
            return Schedule(_after_warmup(falling, peak, learning_rate.warmup_epochs * updates_per_epoch))
        case Piecewise():
            # Keras changes the rate after the update at a boundary, counted from 0.
            boundaries = [round(boundary * updates_per_epoch) - 1 for boundary in learning_rate.boundaries_epochs]
            steps = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, list(learning_rate.learning_rates))
            return Schedule(steps)
        case OneCycle(peak=peak):
            warmup = max(1.0, total * learning_rate.warmup_share)
            rising = _cosine(peak * learning_rate.initial_share, peak, warmup)
            falling = _cosine(peak, peak * learning_rate.final_share, max(1.0, total - warmup - 1))
            return Schedule(_joined(rising, falling, warmup))
        case _:
            return learning_rate


def _after_warmup(rate: Rate, peak: float, warmup: float) -> Rate:
    """A straight line from 0, which no update has, up to `peak`; then `rate`, which counts from there."""
    return _joined(lambda step: peak * (step + 1) / (warmup + 1), rate, warmup) if warmup else rate


def _joined(first: Rate, second: Rate, boundary: float) -> Rate:
    return lambda step: ops.where(step < boundary, first(step), second(ops.maximum(step - boundary, 0.0)))


def _cosine(start: float, end: float, length: float) -> Rate:
    """Half a cosine from `start` to `end`, where it stays."""
    return lambda step: end + (start - end) * (1 + ops.cos(pi * ops.minimum(step / length, 1.0))) / 2
