"""The peer of bench/main_job.py: what the pipeline `digits` does, by hand, in one process.

Same data, model, optimizer, batch, epochs and results (model, history, metrics, figures, one HTML page), written into
the working directory. No Ray, DVC, MLflow, checksums, checkpoints or registry.
"""

import base64
import csv
import json
import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.metrics import classification_report, confusion_matrix, log_loss

EPOCHS, BATCH_SIZE = 12, 64


def main() -> None:
    digits = load_digits()
    images, labels = digits.images[..., None].astype(np.float32), digits.target
    parts = np.random.default_rng(1).choice(3, size=len(labels), p=[0.7, 0.1, 0.2])
    train, validation, test = ((images[parts == part], labels[parts == part]) for part in range(3))

    keras.utils.set_random_seed(1)
    model = build()
    history = model.fit(*train, batch_size=BATCH_SIZE, epochs=EPOCHS, validation_data=validation, verbose=0).history
    model.save("model.keras")
    with Path("history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        writer.writerows([epoch + 1, *values] for epoch, values in enumerate(zip(*history.values(), strict=True)))

    probabilities = model.predict(test[0], verbose=0)
    predicted = probabilities.argmax(axis=1)
    report = classification_report(test[1], predicted, output_dict=True)
    metrics = {"loss": log_loss(test[1], probabilities), "accuracy": report["accuracy"]}
    Path("metrics.json").write_text(json.dumps(metrics))
    draw(
        history,
        confusion_matrix(test[1], predicted),
        labels,
        test[0],
        probabilities[np.arange(len(predicted)), test[1]],
    )
    write_page(metrics, report)


def build() -> keras.Model:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 16),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.004), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def draw(history: dict, confusion: np.ndarray, labels: np.ndarray, images: np.ndarray, certainty: np.ndarray) -> None:
    curves = Figure(figsize=(8, 3), layout="constrained")
    for axes, name in zip(curves.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(history[name], label="training")
        axes.plot(history[f"val_{name}"], label="validation")
        axes.set(xlabel="epoch", ylabel=name)
        axes.legend()
    curves.savefig("learning_curves.png")

    matrix = Figure(figsize=(5, 5), layout="constrained")
    axes = matrix.subplots()
    axes.imshow(confusion, cmap="Blues")
    for row, column in np.ndindex(confusion.shape):
        axes.text(column, row, confusion[row, column], ha="center", va="center")
    axes.set(xlabel="predicted", ylabel="true")
    matrix.savefig("confusion_matrix.png")

    balance = Figure(figsize=(5, 3), layout="constrained")
    balance.subplots().bar(range(10), np.bincount(labels))
    balance.savefig("class_balance.png")

    worst = Figure(figsize=(8, 4), layout="constrained")
    for axes, index in zip(worst.subplots(3, 4).flat, np.argsort(certainty), strict=False):
        axes.imshow(images[index, ..., 0], cmap="gray_r")
        axes.set_axis_off()
    worst.savefig("worst_examples.png")


def write_page(metrics: dict, report: dict) -> None:
    pictures = [base64.b64encode(path.read_bytes()).decode() for path in sorted(Path().glob("*.png"))]
    rows = [
        f"<tr><td>{name}</td><td>{row['precision']:.3f}</td><td>{row['recall']:.3f}</td></tr>"
        for name, row in report.items()
        if isinstance(row, dict)
    ]
    shown = "".join(f'<img src="data:image/png;base64,{picture}">' for picture in pictures)
    Path("report.html").write_text(f"<h1>digits</h1><p>{metrics}</p><table>{''.join(rows)}</table>{shown}")


if __name__ == "__main__":
    main()
