"""Keras optimizers from their settings."""

import keras

from components.training.settings import Adam, Optimizer, RmsProp, Sgd


def build_optimizer(optimizer: Optimizer) -> keras.optimizers.Optimizer:
    """Return a new Keras optimizer."""
    match optimizer:
        case Sgd():
            return keras.optimizers.SGD(
                optimizer.learning_rate, momentum=optimizer.momentum, nesterov=optimizer.nesterov
            )
        case Adam():
            kinds = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}
            weight_decay = {} if optimizer.weight_decay is None else {"weight_decay": optimizer.weight_decay}
            return kinds[optimizer.kind](
                optimizer.learning_rate, beta_1=optimizer.beta_1, beta_2=optimizer.beta_2, **weight_decay
            )
        case RmsProp():
            return keras.optimizers.RMSprop(optimizer.learning_rate, rho=optimizer.rho, momentum=optimizer.momentum)
