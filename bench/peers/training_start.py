"""One side of bench/training.py's starts: a job of two workers that trains one step, from nothing to its end.

`ours` is what the train stage runs: Ray, Ray Train, two workers, one step, checkpoint, model. `ray` is Ray's own
TensorflowTrainer with the model of its documentation. That example ends in an error where Keras 3 is the only Keras.
Ray sets TF_USE_LEGACY_KERAS=1, and `tf.keras` then needs the package tf_keras. The nearest form that runs makes the
model with `keras` and takes the step in a loop of its own. It reads no files, and saves the weights alone.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 32


def main() -> None:
    {"ours": ours, "ray": by_ray}[sys.argv[1]](Path(sys.argv[2]))


def ours(folder: Path) -> None:
    import polars as pl

    from headrace.components.schema.feature_types.number_feature import NumberFeature
    from headrace.components.schema.labels import NumberLabel
    from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
    from headrace.pipelines.params import Train
    from headrace.pipelines.ray_cluster.connect import ray_session
    from headrace.pipelines.ray_train.pipeline_worker import train_on_worker
    from headrace.pipelines.ray_train.ray_trainer import fit
    from headrace.pipelines.ray_train.training_job import TrainJob

    x = np.arange(ROWS, dtype=np.float32)
    for split in ("train", "validation"):
        (folder / split).mkdir()
        pl.DataFrame({"x": x, "label": x + 1}).write_parquet(folder / split / "part-00000.parquet")
    feature = FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))
    fitted = FittedTable(features={"x": feature}, label=NumberLabel(name="y"), training_examples=ROWS)
    (folder / "statistics.json").write_text(fitted.model_dump_json(), encoding="utf-8")
    optimizer = {"kind": "adam", "learning_rate": 0.001}
    train = {"model": {"layers": []}, "optimizer": optimizer, "global_batch_size": ROWS, "epochs": 1, "num_workers": 2}
    job = TrainJob(
        run_name="start",
        folder=folder / "job",
        splits=folder,
        statistics=folder / "statistics.json",
        train=Train.model_validate(train),
    )
    job.folder.mkdir()
    with ray_session(num_workers=2):
        fit(job, on_worker=train_on_worker, on_event=lambda _: None)
    if not job.results.is_dir():
        sys.exit("the job wrote no results")


def by_ray(folder: Path) -> None:
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.tensorflow import TensorflowTrainer

    ray.init(num_cpus=2, log_to_driver=False, logging_level="ERROR")
    trainer = TensorflowTrainer(
        train_loop_per_worker=_ray_worker,
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(name="start", storage_path=str(folder)),
    )
    if trainer.fit().checkpoint is None:
        sys.exit("the job wrote no checkpoint")
    ray.shutdown()


def _ray_worker() -> None:
    import keras
    import tensorflow as tf
    from ray import train
    from ray.train import Checkpoint

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        optimizer = keras.optimizers.Adam()
        optimizer.build(model.trainable_variables)

    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - x - 1) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    x = np.arange(ROWS, dtype=np.float32)[:, None]
    tf.function(lambda batch: strategy.run(step, args=(batch,)))(x[: ROWS // 2])
    with tempfile.TemporaryDirectory() as folder:
        model.save_weights(f"{folder}/model.weights.h5")
        train.report({}, checkpoint=Checkpoint.from_directory(folder))


if __name__ == "__main__":
    main()
