"""Digits by two processes: plain_keras.py, whose last lines are another call."""

import keras
from sklearn.datasets import load_digits

import headrace


def build_model(*, units: int = 32):
    """A compiled model of 8 x 8 images, values from 0 to 16."""
    images = keras.Input((64,))
    hidden = keras.layers.Dense(units, activation="relu")(keras.layers.Rescaling(1 / 16)(images))
    model = keras.Model(images, keras.layers.Dense(10)(keras.layers.Dropout(0.2)(hidden)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


if __name__ == "__main__":
    x, y = load_digits(return_X_y=True)
    result = headrace.fit(
        build_model,
        arguments={"units": 64},
        train=(x[:1500], y[:1500]),
        validation=(x[1500:], y[1500:]),
        global_batch_size=64,
        epochs=8,
        num_workers=2,
        seed=1,
        folder="runs/digits",
    )
    print(f"validation accuracy {result.history['validation_accuracy'][-1]:.3f}")
