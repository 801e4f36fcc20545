"""Keras optimizers from their settings."""

from typing import Any

import keras

from headrace.components.training.optimization.adam import FusedAdam
from headrace.components.training.optimization.schedules import build_learning_rate
from headrace.components.training.settings import Adagrad, Adam, Lion, Optimizer, RmsProp, Sgd

ADAMW_WEIGHT_DECAY = 0.004  # Keras's own default


def build_optimizer(optimizer: Optimizer, *, steps_per_epoch: int, epochs: int) -> keras.optimizers.Optimizer:
    """Return a new Keras optimizer, its learning rate laid out over `epochs` epochs of `steps_per_epoch` steps."""
    accumulated = optimizer.gradient_accumulation_steps
    every: dict[str, Any] = {
        "learning_rate": build_learning_rate(
            optimizer.learning_rate, updates_per_epoch=steps_per_epoch / accumulated, epochs=epochs
        ),
        "global_clipnorm": optimizer.clip_norm,
        "gradient_accumulation_steps": accumulated if accumulated > 1 else None,
    }
    if optimizer.ema_momentum is not None:
        every |= {"use_ema": True, "ema_momentum": optimizer.ema_momentum}
    if optimizer.weight_decay is not None:  # None would take away the default of those that have one
        every["weight_decay"] = optimizer.weight_decay
    match optimizer:
        case Sgd():
            return keras.optimizers.SGD(momentum=optimizer.momentum, nesterov=optimizer.nesterov, **every)
        case Adam():
            if optimizer.kind == "adamw":
                every.setdefault("weight_decay", ADAMW_WEIGHT_DECAY)
            return FusedAdam(beta_1=optimizer.beta_1, beta_2=optimizer.beta_2, **every)
        case RmsProp():
            return keras.optimizers.RMSprop(rho=optimizer.rho, momentum=optimizer.momentum, **every)
        case Adagrad():
            return keras.optimizers.Adagrad(initial_accumulator_value=optimizer.initial_accumulator_value, **every)
        case Lion():
            return keras.optimizers.Lion(beta_1=optimizer.beta_1, beta_2=optimizer.beta_2, **every)
