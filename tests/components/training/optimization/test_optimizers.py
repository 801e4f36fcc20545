"""Optimizers of our own against Keras's."""

import keras
import numpy as np
import pytest

from headrace.components.training.optimization.optimizers import build_optimizer
from headrace.components.training.settings import Adam


@pytest.mark.parametrize(
    ("settings", "peer"),
    [
        ({"kind": "adam", "clip_norm": 0.5}, keras.optimizers.Adam(0.01, global_clipnorm=0.5)),
        ({"kind": "adam", "beta_1": 0.8, "beta_2": 0.99}, keras.optimizers.Adam(0.01, beta_1=0.8, beta_2=0.99)),
        ({"kind": "adamw"}, keras.optimizers.AdamW(0.01)),
        ({"kind": "adamw", "weight_decay": 0.1}, keras.optimizers.AdamW(0.01, weight_decay=0.1)),
        (
            {"kind": "adam", "gradient_accumulation_steps": 2},
            keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
        ),
        ({"kind": "adam", "ema_momentum": 0.9}, keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)),
    ],
)
def test_adam_in_one_pass_makes_the_updates_of_keras(settings, peer):
    ours = build_optimizer(Adam(learning_rate=0.01, **settings), steps_per_epoch=10, epochs=1)
    generator = np.random.default_rng(1)
    start = generator.normal(size=(7, 5)).astype(np.float32)
    variables = [keras.Variable(start) for _ in range(2)]
    for _ in range(20):
        gradient = keras.ops.convert_to_tensor(generator.normal(size=(7, 5)).astype(np.float32))
        ours.apply([gradient], [variables[0]])
        peer.apply([gradient], [variables[1]])
    np.testing.assert_allclose(variables[0], variables[1], rtol=2e-5, atol=1e-6)
    assert [variable.shape for variable in ours.variables] == [variable.shape for variable in peer.variables]
