"""What runs on every Ray Train worker that trains a pipeline. TensorFlow is imported inside: it takes seconds."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.components.models.settings import OwnModel
from headrace.components.own_code.importable_code import OwnCode
from headrace.pipelines.ray_train.node import fetch_earlier_checkpoints
from headrace.pipelines.ray_train.result_files import MODEL, TENSORBOARD
from headrace.pipelines.ray_train.results import write_results
from headrace.pipelines.ray_train.spread_splits import fetched_shards, spread_split
from headrace.pipelines.ray_train.training_job import TrainJob
from headrace.pipelines.ray_train.worker import Place, reporting, run_on_worker
from headrace.pipelines.ray_train.worker_data import remove_columns, split_columns, validation_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.components.models.named_inputs import InputGroup
    from headrace.components.tasks.losses import AnyLoss
    from headrace.components.training.checkpoints import Checkpoint
    from headrace.components.training.feeding.disk_splits import StoredColumns
    from headrace.components.training.feeding.exchanged_batches import ExchangedBatches
    from headrace.components.training.feeding.split_arrays import Columns
    from headrace.components.training.observer import Figures
    from headrace.components.transforms.fitted_table import FittedTable

    AnySplit = Columns | StoredColumns | ExchangedBatches


def train_on_worker(config: dict[str, str]) -> None:
    """Train this worker's part of the job in `config["job"]`; worker 0 reports each epoch and writes the results."""
    run_on_worker(TrainJob.model_validate_json(config["job"]), _train)


def _train(job: TrainJob, place: Place) -> None:
    from headrace.components.training.initial_weights import read_start_weights
    from headrace.components.training.own_model_check import require_saveable
    from headrace.components.training.pipeline_trainee import train_pipeline
    from headrace.components.transforms.fitted_table import FittedTable

    fitted = FittedTable.model_validate_json(job.statistics.read_text(encoding="utf-8"))
    inputs, code = named_inputs(job, fitted), OwnCode(job.sources)
    if place.rank == 0:
        fetch_earlier_checkpoints(job)
    with _splits(job, fitted, inputs) as (train, validation), code.importable():
        if place.rank == 0 and isinstance(job.train.model, OwnModel):
            require_saveable(
                job.train.model,
                code,
                fitted=fitted,
                statistics=job.statistics,
                pretrained=job.pretrained,
                rates=job.train.optimizer.rates if job.train.optimizer else (),
            )
        final = train_pipeline(
            train,
            validation,
            label=fitted.label,
            tokens=fitted.tokens,
            training=job.train,
            inputs=inputs,
            code=code,
            pretrained=job.pretrained,
            worker=place.worker(job.train),
            folder=job.checkpoints,
            observer=reporting(job, place, shown=partial(in_label_unit, fitted=fitted, loss=job.train.loss)),
            start_weights=lambda: read_start_weights(job.start_weights, code) if job.start_weights else None,
        )
        remove_columns(job)  # every worker has its last batch: all have made the last step
        if place.rank == 0:
            history = [in_label_unit(metrics, fitted, loss=job.train.loss) for metrics in final.state.history]
            write_results(job, final, history, add=partial(_add_results, job, fitted, final, history))


@contextmanager
def _splits(
    job: TrainJob, fitted: "FittedTable", inputs: "Mapping[str, InputGroup] | None"
) -> "Iterator[tuple[AnySplit, AnySplit | None]]":
    """Training and validation split, each from this node's files or, where it is spread, from all nodes' shards."""
    with ExitStack() as stack:
        spread: dict[str, AnySplit | None] = {}
        if job.spread:
            from headrace.pipelines.ray_train.node_shards import nodes_with_shards

            nodes = stack.enter_context(nodes_with_shards(job))
            spread = {split: spread_split(job, split, nodes, fitted=fitted, inputs=inputs) for split in job.spread}
        train = spread.get("train") or split_columns(job, "train", fitted=fitted, inputs=inputs)
        if "validation" in spread:
            yield train, spread["validation"]
        else:
            yield train, validation_columns(job, fitted=fitted, inputs=inputs)


def named_inputs(job: TrainJob, fitted: "FittedTable") -> "Mapping[str, InputGroup] | None":
    """The inputs of a model by name; None for layers and architectures that take one."""
    from headrace.components.models.named_inputs import groups_of

    return groups_of(job.train.model, fitted)


def in_label_unit(metrics: "Figures", fitted: "FittedTable", *, loss: "AnyLoss | None" = None) -> dict[str, float]:
    """The metrics with errors of a transformed number label back in the label's own unit.

    A loss without one unit, such as Huber's, stays in that of the transformed label.
    """
    scale = fitted.label_transform.scale if fitted.label_transform else 1.0
    power = 2 if loss is None else loss.unit_power or 0
    factors = {"loss": scale**power, "root_mean_squared_error": scale, "mean_absolute_error": scale}
    return {
        name: value * (1.0 if scale == 1.0 else factors.get(name.removeprefix("validation_"), 1.0))
        for name, value in metrics.items()
    }


def _add_results(
    job: TrainJob, fitted: "FittedTable", final: "Checkpoint", history: list[dict[str, float]], folder: Path
) -> None:
    from headrace.components.training.first_images import first_pictures
    from headrace.components.training.generated_samples import keep_samples
    from headrace.components.training.tensorboard import write_tensorboard

    core = _save_model(folder / MODEL, job, fitted, final)
    with fetched_shards(job, "train", count=1) as shards:
        pictures = first_pictures(shards, fitted=fitted)
    write_tensorboard(folder / TENSORBOARD, history, histograms=job.checkpoints, model=core, pictures=pictures)
    keep_samples(job.checkpoints, folder / TENSORBOARD)


def _save_model(path: Path, job: TrainJob, fitted: "FittedTable", final: "Checkpoint") -> Any:
    """The best weights in a model of their own, outside the strategy, with the normalization in front."""
    import keras

    from headrace.components.serving_model.keras_file import write_keras_file
    from headrace.components.training.calibration import calibrated
    from headrace.components.training.restored_model import restored_model

    keras.utils.clear_session()  # names such as dense_3 would count the layers that were built before
    keras.config.set_dtype_policy("float32")  # whatever it was trained in: it runs anywhere
    with ExitStack() as stack:
        validation = job.splits / "validation"
        if job.train.calibration != "none":
            validation = stack.enter_context(fetched_shards(job, "validation"))
        model, core = restored_model(
            final.best_weights,
            model=job.train.model,
            fitted=fitted,
            statistics=job.statistics,
            code=OwnCode(job.sources),
            pretrained=job.pretrained,
            calibrate=partial(calibrated, kind=job.train.calibration, validation=validation, fitted=fitted),
        )
    write_keras_file(model, path, sources=job.sources)
    return core
