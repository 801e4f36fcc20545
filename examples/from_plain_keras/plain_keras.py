"""Digits by plain Keras, in one process."""

import keras
from sklearn.datasets import load_digits


def build_model(*, units: int = 32):
    """A compiled model of 8 x 8 images, values from 0 to 16."""
    images = keras.Input((64,))
    hidden = keras.layers.Dense(units, activation="relu")(keras.layers.Rescaling(1 / 16)(images))
    model = keras.Model(images, keras.layers.Dense(10)(keras.layers.Dropout(0.2)(hidden)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


if __name__ == "__main__":
    x, y = load_digits(return_X_y=True)
    keras.utils.set_random_seed(1)
    model = build_model(units=64)
    history = model.fit(x[:1500], y[:1500], validation_data=(x[1500:], y[1500:]), batch_size=64, epochs=8, verbose=2)
    print(f"validation accuracy {history.history['val_accuracy'][-1]:.3f}")
