"""The description that a training's workers receive, and the places of the files that they write."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from headrace.components.schema.settings import Settings
from headrace.pipelines.distributed_plan import DistributedPlan
from headrace.pipelines.params import Train

PROGRESS, STOP = "progress.jsonl", "stop"  # files of a training's folder
SAMPLE = "worker-"  # and of each worker's last figures, before its rank

Kind = Literal["mistake", "out_of_memory", "host", "bug"]
TrainedSplit = Literal["train", "validation"]
OUT_OF_MEMORY: Kind = "out_of_memory"


class Failure(Settings):
    """Why a group of workers ended for a reason of its own; `rank` is -1 where no worker could say so itself."""

    rank: int
    kind: Kind
    message: str
    traceback: str = ""


class Job(Settings):
    """One training. Paths must mean the same on every node, unless there is a storage for what the nodes exchange."""

    run_name: str
    folder: Path
    train: DistributedPlan
    versions: dict[str, int | str] = Field(
        default_factory=dict
    )  # of the training's identity: every node must have them
    storage: str | None = None
    inputs: str | None = None  # the storage's key of the files that the training reads
    sources: dict[str, str] = Field(default_factory=dict)  # of code of the user's own: what this training runs

    @property
    def checkpoints(self) -> Path:
        """Checkpoints in flight."""
        return self.folder / "checkpoints"

    @property
    def progress(self) -> Path:
        """Events of the training, one JSON line each, written by worker 0."""
        return self.folder / PROGRESS

    @property
    def failure(self) -> Path:
        """Error of the first worker that failed for a reason of its own: a retry would end the same way."""
        return self.folder / "failure.json"

    @property
    def preempted(self) -> Path:
        """Written by workers that stopped on request, after a checkpoint: a new group continues from there."""
        return self.folder / "preempted"

    @property
    def results(self) -> Path:
        """Written by worker 0 when all epochs are done; appears whole."""
        return self.folder / "results"

    @property
    def published(self) -> Path:
        """Written once the results are in the storage."""
        return self.folder / "published"

    @property
    def stop(self) -> Path:
        """Written to make the workers write a checkpoint and stop, where they receive that through a mailbox."""
        return self.folder / STOP

    @property
    def mailbox(self) -> str | None:
        """The name of the actor through which workers on other nodes report; None where they write into `folder`."""
        return f"headrace-{self.run_name}" if self.storage else None

    def key(self, *names: str) -> str:
        """The storage's key of something of this training."""
        return training_key(self.run_name, *names)

    def with_inputs(self, folder: Path, sizes: Mapping[str, int]) -> Self:  # noqa: ARG002 - each kind of job has its own
        """The job with its inputs where `folder` holds what was published under the key `inputs`, of these sizes."""
        return self

    def is_left_out(self, name: str) -> bool:  # noqa: ARG002 - each kind of job has inputs of its own
        """Whether a node does not need an input of that name as a file."""
        return False


class TrainJob(Job):
    """The training of a pipeline, whose splits, statistics, initial and pretrained weights are its inputs."""

    splits: Path
    statistics: Path
    train: Train
    start_weights: Path | None = None
    pretrained: Path | None = None
    spread: tuple[TrainedSplit, ...] = ()  # splits whose shards are spread over the nodes

    def with_inputs(self, folder: Path, sizes: Mapping[str, int]) -> Self:
        """The job with its inputs where `folder` holds what was published under the key `inputs`, of these sizes.

        A split that is trained in windows and is larger than a node's cache is left in the storage.
        """
        splits: tuple[TrainedSplit, ...] = ("train", "validation") if self.train.window_examples is not None else ()
        return self.model_copy(
            update={
                "spread": tuple(one for one in splits if split_bytes(sizes, one) > self.train.data_cache_bytes),
                "splits": folder / "splits",
                "statistics": folder / "statistics.json",
                "start_weights": folder / "start" / self.start_weights.name if self.start_weights else None,
                "pretrained": folder / "weights" / self.pretrained.name if self.pretrained else None,
            }
        )

    def is_left_out(self, name: str) -> bool:
        """Whether a node does not need an input of that name as a file: test rows, and splits that are spread."""
        return any(is_shard(name, split) for split in ("test", *self.spread))


def is_shard(name: str, split: str | None = None) -> bool:
    """Whether a file among the inputs is a shard of the split, or of any."""
    return name.startswith("splits/" if split is None else f"splits/{split}/") and name.endswith(".parquet")


def split_bytes(sizes: Mapping[str, int], split: str) -> int:
    """Bytes of a split's shards, of the sizes of all inputs."""
    return sum(size for name, size in sizes.items() if is_shard(name, split))


def training_key(run_name: str, *names: str) -> str:
    """The storage's key of something of a training."""
    return "/".join(("trainings", run_name, *names))
