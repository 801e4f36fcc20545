"""The sides of bench/prediction.py, in a project that it has made.

    python bench/peers/prediction.py ours|keras|files PROJECT BATCH_SIZE

`ours` and `keras` predict rows that are in memory, three times after a first one, and print the seconds of each;
`files` is by hand what `headrace predict` does from file to file: no check of a row or of the model.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import polars as pl
import tensorflow as tf

TURNS = 3


def main() -> None:
    side, project, batch_size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    model, rows = keras.saving.load_model(project / "model.keras", compile=False), project / "rows.parquet"
    match side:
        case "ours":
            timed(ours(model, rows, project))
        case "keras":
            inputs = inputs_of(rows)
            timed(lambda: model.predict(inputs, batch_size=batch_size, verbose=0))
        case "files":
            outputs = model.predict(inputs_of(rows), batch_size=batch_size, verbose=0)
            classes = np.array(["a", "b", "c"])[outputs.argmax(axis=1)]
            probabilities = {f"probability_{name}": outputs[:, place] for place, name in enumerate("abc")}
            found = pl.DataFrame({"row": range(1, len(outputs) + 1), "prediction": classes, **probabilities})
            found.write_parquet(project / "by-hand.parquet")


def ours(model: keras.Model, rows: Path, project: Path) -> Callable[[], np.ndarray]:
    from headrace.components.serving_model.saved_model import predict
    from headrace.pipelines.params import load_pipeline

    features, examples = load_pipeline(project / "params.yaml", "bench").ingest.features, pl.read_parquet(rows)
    return lambda: predict(model, examples, features=features)


def inputs_of(rows: Path) -> dict[str, np.ndarray | tf.Tensor]:
    """Columns as Keras's `predict` takes them: texts as tensors, because it takes no array of them."""
    return {
        column.name: tf.constant(column.to_list(), shape=(len(column), 1))
        if column.dtype == pl.String
        else column.to_numpy().astype(np.float32).reshape(-1, 1)
        for column in pl.read_parquet(rows)
    }


def timed(call: Callable[[], np.ndarray]) -> None:
    call()  # it traces the graph, and loads TensorFlow's parts
    seconds, processor_seconds = [], []
    for _ in range(TURNS):
        started, busy = time.perf_counter(), time.process_time()
        call()
        seconds.append(time.perf_counter() - started)
        processor_seconds.append(time.process_time() - busy)
    print(json.dumps({"seconds": seconds, "processor_seconds": processor_seconds}))


if __name__ == "__main__":
    main()
