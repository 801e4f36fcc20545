"""Warnings about models that several workers can't train as one does."""

import keras

from headrace.components.training.workers.equality import note_on_draws


def test_layers_that_draw_are_named_where_workers_draw_apart():
    inputs = keras.Input((4, 3))
    attended = keras.layers.MultiHeadAttention(1, 2, dropout=0.1, name="attention")(inputs, inputs)
    model = keras.Model(inputs, keras.layers.GaussianNoise(0.1, name="noise")(attended))
    note = note_on_draws(model, num_workers=2)
    assert note is not None
    assert "noise (GaussianNoise)" in note
    assert "Dropout" in note
    assert note_on_draws(model, num_workers=1) is None
    assert note_on_draws(keras.Sequential([inputs, keras.layers.Dense(2)]), num_workers=2) is None
