"""`headrace.fit`: train a compiled Keras model on all workers, from a program of one's own."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import JsonValue, ValidationError

from headrace.components.errors import ParamsError
from headrace.components.own_code.given_function import GivenFunction, given_function
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.own_code.signature import require_function
from headrace.components.training import checkpoints
from headrace.components.training.checkpoints import Checkpoint
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.distributed_plan import DistributedPlan
from headrace.pipelines.fit.given_splits import (
    GivenSplit,
    batch_size,
    few_examples,
    functions_of,
    given_splits,
    require_json,
)
from headrace.pipelines.fit.in_group import require_group, train_in_group
from headrace.pipelines.fit.on_ray import train_on_ray
from headrace.pipelines.fit.record import (
    DATA,
    LOCK,
    STATE,
    TRAINING,
    FitRecord,
    home_of,
    identity_of,
    read_or_begin,
)
from headrace.pipelines.headrace_lock import installed
from headrace.pipelines.host.file_lock import locked
from headrace.pipelines.host.tf_config import Member, group_member
from headrace.pipelines.params_errors import explain
from headrace.pipelines.ray_train.fit_job import FitJob
from headrace.pipelines.ray_train.fit_worker import is_worker
from headrace.pipelines.ray_train.result_files import CHECKPOINT
from headrace.pipelines.remote_training.provenance import identity_digest
from headrace.pipelines.remote_training.remote_train import uses_job_server

if TYPE_CHECKING:
    import keras

log = structlog.get_logger()


@dataclass(frozen=True)
class FitResult:
    """What `headrace.fit` has trained.

    `history` has the metrics of each epoch by name, validation's with `validation_` in front; `best_epoch` is that of
    `model`, counted from 1. `folder` holds model.keras, the checkpoints, history.csv and TensorBoard's files.
    """

    folder: Path
    history: Mapping[str, tuple[float, ...]]
    best_epoch: int
    mlflow_run_id: str | None
    make_model: Callable[[], "keras.Model"] = field(repr=False)

    @cached_property
    def model(self) -> "keras.Model":
        """The compiled model with the weights of the best epoch, made when it is first read."""
        return self.make_model()


def fit(  # noqa: PLR0913 - each by its keyword
    build_model: "Callable[..., keras.Model]",
    *,
    train: Any,
    folder: str | Path,
    epochs: int,
    global_batch_size: int | None = None,
    num_workers: int = 1,
    validation: Any = None,
    label: str | None = None,
    weight: str | None = None,
    arguments: Mapping[str, JsonValue] | None = None,
    callbacks: "Callable[[], list[keras.callbacks.Callback]] | None" = None,
    jit_compile: bool = False,
    shuffle: bool = True,
    experiment: str = "headrace/fit",
    force: bool = False,
    **plan: Any,
) -> FitResult:
    """Train the compiled model that `build_model(**arguments)` returns, by `num_workers` processes.

    Each step equals that of one process on the whole `global_batch_size`, to rounding. The workers run on this machine,
    or on the Ray cluster at RAY_ADDRESS. The same call continues a training that was interrupted, with the exact next
    batch, and returns at once where it is done already; with `force` it trains again from the first step.

    `build_model` and `callbacks` are functions at the top of a file; workers import that file, and what it imports
    beside it, so a program calls `fit` under `if __name__ == "__main__":`. `train` and `validation` are
    (features, labels) or (features, labels, weights), each an array or a dict or tuple of arrays; or tables: a dict of
    arrays, a Polars or Arrow table, or the path of Parquet files, whose columns `label` and `weight` are named; or such
    functions, too, that return a `keras.utils.PyDataset` or a `tf.data.Dataset`, whose batches are the global batches.
    Their arguments are given by `functools.partial`. `shuffle` holds for examples and for the batches of a PyDataset.

    With `window_examples`, Parquet files are read from disk, window by window, and may be larger than memory.

    `plan` takes the other settings of a training, as `train` in params.yaml: `seed`, `best_by`, `early_stopping`,
    `checkpoints`, `steps_per_epoch`, `gradient_compression`, `use_gpu`, `threads_per_worker`, `reproducible`,
    `logical_shards`, `resources_per_worker`, `placement`, `max_failures`, `start_timeout_seconds`,
    `capacity_timeout_seconds`.

    MLflow receives one run in `experiment`, at MLFLOW_TRACKING_URI or in mlflow.db of the project, or of the working
    directory where there is no project. Raises ParamsError, DataError, TrainingError or ServiceError for what a user
    can fix, before any work where possible; ParamsError where `folder` holds another training.
    """
    _require_program()
    member = group_member()
    window_examples = plan.get("window_examples")
    global_batch_size = batch_size(
        global_batch_size, window_examples=window_examples, train=train, validation=validation
    )
    settings = validated_plan(
        {
            "epochs": epochs,
            "global_batch_size": global_batch_size,
            "num_workers": len(member.addresses) if member else num_workers,
            "best_by": "loss" if validation is None else "validation_loss",
            **plan,
        }
    )
    if member:
        require_group(member, settings, num_workers=num_workers, force=force)
    given, folder = dict(arguments or {}), Path(folder).resolve()
    place, code = own_function(build_model, callbacks, given)
    given_data = {"train": train, "validation": validation}
    splits = given_splits(given_data, label=label, weight=weight, window_examples=window_examples)
    job = FitJob(
        run_name="",  # from the identity, which the rest of it decides
        folder=folder / STATE / TRAINING,
        train=settings,
        versions=installed("train"),
        sources=code.sources,
        data=folder / STATE / DATA,
        file=place.file,
        function=place.name,
        arguments=given,
        callbacks=None if callbacks is None else callbacks.__name__,
        jit_compile=jit_compile,
        functions=functions_of(splits),
        shuffle=shuffle,
    )
    identity = identity_of(job, splits)
    job = job.model_copy(update={"run_name": f"fit-{identity_digest(identity)[:12]}"})
    record, final = _trained(folder, job, identity, splits, member, experiment=experiment, force=force)

    def make_model() -> "keras.Model":
        import_tensorflow()
        from headrace.components.training.function_trainee import with_weights

        examples = partial(few_examples, job, splits["train"])
        return with_weights(build_model(**given), examples, final.best_weights)

    history = final.state.history
    return FitResult(
        folder=folder,
        history={name: tuple(epoch[name] for epoch in history) for name in history[0] if name != "epoch"},
        best_epoch=final.state.best_epoch,
        mlflow_run_id=record.mlflow_run_id,
        make_model=make_model,
    )


def _trained(
    folder: Path,
    job: FitJob,
    identity: dict[str, Any],
    splits: Mapping[str, GivenSplit],
    member: Member | None,
    *,
    experiment: str,
    force: bool,
) -> tuple[FitRecord, Checkpoint]:
    """The record of the folder's training and its last state, trained now unless it was before."""
    home, is_first = home_of(folder), member is None or member.rank == 0
    with locked(folder / LOCK) if is_first else nullcontext():
        record = read_or_begin(home, folder, job, identity, force=force, is_first=is_first)
        if record.trained_at is not None:
            log.info("trained before from the same data, settings and code: kept", trained_at=str(record.trained_at))
        elif member is not None:
            return train_in_group(home, folder, job, record, member, splits, experiment=experiment)
        else:
            record = train_on_ray(home, folder, job, record, splits, experiment=experiment)
    return record, checkpoints.load(folder / CHECKPOINT)


def _require_program() -> None:
    if is_worker():
        raise ParamsError(
            "headrace.fit was called as a worker imported the file of build_model; call it under "
            '`if __name__ == "__main__":`, or keep build_model in a file of its own'
        )
    if uses_job_server():
        raise ParamsError(
            "RAY_ADDRESS is the address of a job server, and headrace.fit needs that of the cluster itself (HOST:PORT, "
            "or auto on a node); or submit the program as a job: ray job submit -- python PROGRAM"
        )


def validated_plan(settings: Mapping[str, Any]) -> DistributedPlan:
    """The settings of a training; raises ParamsError, a line for each mistake."""
    try:
        return DistributedPlan.model_validate(settings)
    except ValidationError as error:
        lines = explain(Path("headrace.fit"), "argument", error, model=DistributedPlan)
        raise ParamsError("\n".join(lines)) from error


def own_function(
    build_model: Callable[..., Any], callbacks: Callable[..., Any] | None, arguments: Mapping[str, JsonValue]
) -> tuple[GivenFunction, OwnCode]:
    """Where the function of a model is, and the code that it needs.

    Raises ParamsError for what workers can't import, for arguments that it does not take or that no identity can name,
    and for callbacks of another file.
    """
    place = given_function(build_model, called="build_model")
    require_json(arguments, called="arguments")
    code = OwnCode.of(place.root, [place.file])
    require_function(code.sources, place.file, place.name, given=(), arguments=list(arguments))
    if callbacks is not None:
        others = given_function(callbacks, called="callbacks")
        if others[:2] != place[:2]:
            raise ParamsError(f"callbacks: {others.name} is in {others.file}, expected it beside {place.name}")
        require_function(code.sources, others.file, others.name, given=(), arguments=())
    return place, code
