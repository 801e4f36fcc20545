"""How long a model is trained, on which batches, which epoch is published, and what is kept on the way."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.schema.settings import Settings
from headrace.components.tasks.metric_names import LAST

LARGEST_GLOBAL_BATCH = 1_048_576


class EarlyStopping(Settings):
    """Training ends when `best_by` has not improved by more than `minimum_improvement` for `patience_epochs`."""

    patience_epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Number of epochs without an improvement after which training ends."""

    minimum_improvement: Annotated[float, Field(ge=0)] = 0.0
    """Smallest change of `best_by` that counts as an improvement."""


class Checkpoints(Settings):
    """When the training state is written, and which checkpoints are kept."""

    every_steps: Annotated[int, Field(ge=1)] | None = None
    """Also write a checkpoint after so many steps of an epoch. `null` for the end of each epoch only."""

    keep_last: Annotated[int, Field(ge=2, le=1000)] = 5  # the newest may be damaged: there is always one more
    """Number of the newest checkpoints that are kept. That of the best epoch is kept too."""

    keep_every_hours: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Also keep the first checkpoint of every so many hours of training. Time between two attempts does not count."""


class Plan(Settings):
    """A training apart from what is trained: batches, epochs, the best one, checkpoints."""

    global_batch_size: Annotated[int, Field(ge=1, le=LARGEST_GLOBAL_BATCH)]
    """Largest number of examples per step over all workers, at least twice their number. An epoch's examples are
    divided evenly over the fewest steps, so batches differ by at most one.
    """

    epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Largest number of passes over the training examples. The best epoch by `best_by` is published."""

    steps_per_epoch: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Number of steps that count as an epoch, after which metrics are logged and a checkpoint is written. `null` for
    one pass over the examples.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the initial weights, of dropout and of the order of examples."""

    best_by: str = "validation_loss"
    """The metric that chooses the best epoch: `loss`, `accuracy` (category and next tokens), `perplexity` (next
    tokens), `root_mean_squared_error`, `mean_absolute_error` (number), each also with `validation_` in front.
    `generator_loss` and `discriminator_loss` are only logged. `last` publishes the last epoch, which generated images
    need.
    """

    early_stopping: EarlyStopping | None = None
    """Ends training when `best_by` no longer improves."""

    window_examples: Annotated[int, Field(ge=16)] | None = None
    """Number of examples that are shuffled together; `null` for all, which must fit into memory. A worker needs memory
    for about two windows.
    """

    gradient_compression: Literal["none", "bfloat16"] = "none"
    """`bfloat16` halves the network traffic of gradients between workers without GPUs. It pays where the network, and
    not the processor, is the limit.
    """

    checkpoints: Checkpoints = Checkpoints()
    """How often the training state is saved."""

    equality: Literal["require", "warn", "off"] = "warn"
    """What happens to a model of a file, or of `headrace.fit`, of which several workers don't train the same as one
    process. A small step is tried before the first one: `warn` says what differs, `require` refuses the training,
    `off` tries nothing.
    """

    allow_untested_keras: bool = False
    """Whether to train with a version of Keras that is not in `TESTED_VERSIONS` of
    `components/training/multiworker.py`.
    """

    @model_validator(mode="after")
    def _early_stopping_has_a_figure(self) -> Self:
        if self.best_by == LAST and self.early_stopping is not None:
            raise ValueError("early_stopping: with best_by: last no metric shows when to stop; leave one of them out")
        return self

    @model_validator(mode="after")
    def _a_window_is_more_than_a_batch(self) -> Self:
        if self.window_examples is not None and self.window_examples < 2 * self.global_batch_size:
            raise ValueError(
                f"window_examples {self.window_examples} is too small for global_batch_size {self.global_batch_size}; "
                f"raise it to {2 * self.global_batch_size} or, better, a hundred times that"
            )
        return self
