"""What a pipeline trains: its layers, its architecture, or a model of its own file; compiled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import keras
from keras.optimizers import Optimizer

from headrace.components.models.build import build_for_training, build_networks
from headrace.components.models.named_inputs import InputGroup
from headrace.components.models.output import Output
from headrace.components.models.own_model import build_own_model, model_label, own_parts, taken_by
from headrace.components.models.settings import Gan, Model, OwnModel
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.schema.labels import Label
from headrace.components.tasks.task import Task
from headrace.components.tasks.variants import task_of
from headrace.components.training.checkpoints import Checkpoint
from headrace.components.training.feeding.disk_splits import StoredColumns
from headrace.components.training.feeding.exchanged_batches import ExchangedBatches
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.loop import Trainee, WorkerArguments, train_worker
from headrace.components.training.optimization.layer_rates import set_layer_rates
from headrace.components.training.optimization.optimizers import build_optimizer
from headrace.components.training.settings import Training
from headrace.components.training.workers.dropout import GlobalBatch

Shape = tuple[int, ...]


def train_pipeline(  # noqa: PLR0913 - each by its keyword
    train: Columns | StoredColumns | ExchangedBatches,
    validation: Columns | StoredColumns | ExchangedBatches | None,
    *,
    training: Training,
    label: Label,
    tokens: int | None = None,
    inputs: Mapping[str, InputGroup] | None = None,
    code: OwnCode | None = None,
    pretrained: Path | None = None,
    **worker: Unpack[WorkerArguments],
) -> Checkpoint:
    """Train the model of a pipeline as `train_worker` does, which takes `worker`.

    `tokens` counts the ids of a text. A model of a file, and one of several inputs, needs `inputs`, by name. That of a
    file needs `code`, the file with what it imports, which must be importable throughout the training. It starts from
    `pretrained`, which its `weights` name.
    """
    make = (
        _Own(training, training.model, label, tokens, _shapes(inputs), code, pretrained).make
        if isinstance(training.model, OwnModel)
        else _Layers(training, training.model, label, tokens, () if inputs else train.shape, inputs).make
    )
    is_own = isinstance(training.model, OwnModel)
    return train_worker(train, validation, make=make, plan=training, probe=is_own, **worker)


@dataclass(frozen=True)
class _Layers:
    """A model of layers or of an architecture, on one example's features of `shape`, or on several inputs."""

    training: Training
    model: Model
    label: Label
    tokens: int | None
    shape: Shape
    inputs: Mapping[str, InputGroup] | None = None

    def make(self, batch: GlobalBatch, steps_per_epoch: int) -> Trainee:
        keras.config.set_dtype_policy(self.training.precision)
        task = task_of(self.label)
        return _compiled(
            self._built(batch, task.output(self.tokens)),
            self.training,
            optimizer=_optimizer(self.training, steps_per_epoch),
            loss=_loss(self.training, task),
            metrics=task.epoch_metrics(),
        )

    def _built(self, batch: GlobalBatch, output: Output) -> keras.Model:
        if isinstance(gan := self.model.architecture, Gan):
            return build_networks(
                gan,
                image_shape=self.shape,
                classes=output.units,
                dropout=batch.dropout,
                drop_connect=batch.drop_connect,
                noise=batch.noise(gan.noise),
                label_smoothing=self.training.label_smoothing,
            )
        return build_for_training(
            self.model,
            input_shape=self.shape,
            output=output,
            tokens=self.tokens,
            groups=self.inputs,
            dropout=batch.dropout,
            drop_connect=batch.drop_connect,
            first=self._first_layer(batch),
        )

    def _first_layer(self, batch: GlobalBatch) -> keras.layers.Layer | None:
        if len(self.shape) == 2:  # copies of each example
            return batch.choose()
        return None if self.model.augment is None else batch.augment(self.model.augment)


def _shapes(inputs: Mapping[str, InputGroup] | None) -> dict[str, Shape] | None:
    return None if inputs is None else {name: group.shape for name, group in inputs.items()}


@dataclass(frozen=True)
class _Own:
    """A model of a file of the project's own, on its inputs."""

    training: Training
    model: OwnModel
    label: Label
    tokens: int | None
    inputs: Mapping[str, Shape] | None
    code: OwnCode | None
    pretrained: Path | None

    def make(self, batch: GlobalBatch, steps_per_epoch: int) -> Trainee:  # noqa: ARG002 - its layers draw by themselves
        if self.inputs is None or self.code is None:
            raise TypeError(f"{self.model.file}: received no inputs or no code, expected both")
        keras.config.set_dtype_policy(self.training.precision)
        settings, task = self.model, task_of(self.label)
        label = model_label(self.label, task.output(self.tokens), task.classes)
        model = build_own_model(settings, self.code, inputs=self.inputs, label=label, pretrained=self.pretrained)
        own = own_parts(settings, self.code, label=label, steps_per_epoch=steps_per_epoch, epochs=self.training.epochs)
        trainee = _compiled(
            model,
            self.training,
            optimizer=own.optimizer or _optimizer(self.training, steps_per_epoch),
            loss=own.loss or _loss(self.training, task),
            metrics=task.epoch_metrics() if own.metrics is None else own.metrics,
        )
        return replace(trainee, takes=_takes(model, self.inputs), callbacks=own.callbacks or ())


def _takes(model: keras.Model, inputs: Mapping[str, Shape]) -> Callable[[Any], Any]:
    """How the model takes the features of a batch, which have no name where there is one input."""
    by_name = taken_by(model, inputs)
    if len(inputs) > 1:
        return by_name
    [only] = inputs
    return lambda features: by_name({only: features})


def _loss(training: Training, task: Task) -> keras.losses.Loss | None:
    if training.loss is not None:
        return training.loss.keras_form(label_smoothing=training.label_smoothing)
    return task.loss(label_smoothing=training.label_smoothing)


def _compiled(model: keras.Model, training: Training, *, optimizer: Optimizer, loss: Any, metrics: Any) -> Trainee:
    if training.optimizer is not None:
        set_layer_rates(optimizer, model, training.optimizer.rates, place="train.optimizer.rates")
    model.compile(
        optimizer,
        loss,
        metrics=metrics,
        steps_per_execution=training.steps_per_execution,
        jit_compile=training.jit_compile,
    )
    return Trainee(model)


def _optimizer(training: Training, steps_per_epoch: int) -> Optimizer:
    if training.optimizer is None:
        raise TypeError("train.optimizer is null, which only a model of a file with one of its own allows")
    return build_optimizer(training.optimizer, steps_per_epoch=steps_per_epoch, epochs=training.epochs)
