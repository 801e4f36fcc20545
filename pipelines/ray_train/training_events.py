"""What a training reports while it runs: one JSON line each in progress.jsonl, read by the process that follows it."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from headrace.components.schema.settings import Settings


class _Event(Settings):
    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="constants")


class GroupEvent(_Event):
    """A group of workers starts, or continues after one that was lost."""

    kind: Literal["group"] = "group"
    num_workers: int
    threads_per_worker: int


class EpochEvent(_Event):
    """An epoch has ended; beside its number, from 1, are its metrics by name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    kind: Literal["epoch"] = "epoch"
    epoch: int

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics alone."""
        return self.__pydantic_extra__


class ProgressEvent(_Event):
    """How far an epoch is, how fast, and how long the epoch and the whole training will take."""

    kind: Literal["progress"] = "progress"
    epoch: int
    step: int
    steps: int
    examples_per_second: float
    seconds_left_in_epoch: float
    seconds_left: float


class NoteEvent(_Event):
    """Something that a user may want to know, in a sentence."""

    kind: Literal["note"] = "note"
    note: str


class LostEvent(_Event):
    """A group of workers was lost; another one follows."""

    kind: Literal["lost"] = "lost"
    reason: str


class PlacedEvent(_Event):
    """The cluster has room for the workers: worker 0 runs."""

    kind: Literal["placed"] = "placed"


class RetryEvent(_Event):
    """A worker ran out of memory, and the training continues, once."""

    kind: Literal["retry"] = "retry"
    reason: str


class ResumedEvent(_Event):
    """A group continues from a checkpoint: how many steps of the training are done."""

    kind: Literal["resumed"] = "resumed"
    step: int


class WorkerSample(_Event):
    """One worker over the last ten seconds; beside its place are its figures by name, as `StepWatch.read` gives them.

    `gpu_percent`, `gpu_memory_mebibytes` and `gpu_watts` only where there is a GPU. `at_seconds` since 1970.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    rank: int
    num_workers: int
    host: str
    at_seconds: float
    step: int

    @property
    def figures(self) -> Mapping[str, float]:
        """The figures alone."""
        return self.__pydantic_extra__


class SamplesEvent(_Event):
    """New samples of workers; found by the follower, and in no progress file."""

    kind: Literal["samples"] = "samples"
    samples: tuple[WorkerSample, ...]


Event = (
    GroupEvent
    | EpochEvent
    | ProgressEvent
    | NoteEvent
    | LostEvent
    | PlacedEvent
    | RetryEvent
    | ResumedEvent
    | SamplesEvent
)
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def parse_event(line: bytes) -> Event | None:
    """Event of a line; None for an empty line, one that was cut short, and one of another version of Headrace."""
    try:
        return _EVENT.validate_json(line)
    except ValidationError:
        return None
