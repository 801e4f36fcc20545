"""How many workers train, with what resources, and how long they wait for each other."""

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from headrace.components.schema.settings import Settings
from headrace.components.training.plan import Plan

Workers = Annotated[int, Field(ge=1, le=1024)]


class ElasticWorkers(Settings):
    """As many workers as the cluster has room for, from `min` to `max`."""

    min: Workers = 1
    """The fewest workers; training waits for them."""

    max: Workers
    """The most workers."""

    @model_validator(mode="after")
    def _min_is_not_above_max(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


LabelKey = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9.\-]*/)?[A-Za-z0-9][\w.\-]{0,62}$")]
LabelSelector = Annotated[str, Field(pattern=r"^(!?[A-Za-z0-9][\w.\-]*|!?in\([\w.\-]+(, ?[\w.\-]+)*\))$")]


class WorkerResources(Settings):
    """What Ray reserves for each worker, and on which nodes. Ray places no more workers on a node than fit."""

    cores: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Number of cores, and of threads where `threads_per_worker` is `null`. `null` reserves one, and a worker computes
    with its share of the node's cores.
    """

    memory_bytes: Annotated[int, Field(ge=2**20, le=2**46)] | None = None
    """Memory that Ray counts for a worker; it limits nothing. `null` counts none."""

    gpus: Annotated[int, Field(ge=0, le=64)] | None = None
    """Number of GPUs: one with `use_gpu`, else none, which is what `null` means. A worker trains with one."""

    accelerator_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.\-]*$")] | None = None
    """Kind of GPU, by Ray's name for it: `L4`, `A10G`, `H100`. `null` takes any."""

    labels: dict[LabelKey, LabelSelector] | None = None
    """Labels of the nodes to train on, as Ray selects by them: `ray.io/market-type: spot`, `!spot`, `in(a, b)`.
    `null` takes any node.
    """


class DriverResources(Settings):
    """What Ray reserves for the driver of a training that is a job, and on which nodes.

    The driver follows the workers, and loads no model. Where nothing is reserved, Ray puts all drivers on the head.
    """

    cores: Annotated[float, Field(ge=0, le=1024)] = 0
    """Number of cores, such as 0.5."""

    memory_bytes: Annotated[int, Field(ge=2**20, le=2**46)] | None = None
    """Memory that Ray counts for it; it limits nothing. `null` counts none."""

    labels: dict[LabelKey, LabelSelector] | None = None
    """Labels of the nodes to run on, as Ray selects by them: `!spot`, `ray.io/market-type: on-demand`."""


NumWorkers = Annotated[
    Annotated[Workers, Tag("(number)")] | Annotated[ElasticWorkers, Tag("(range)")],
    Discriminator(lambda value: "(range)" if isinstance(value, dict | ElasticWorkers) else "(number)"),
]


class DistributedPlan(Plan):
    """How long and on which batches a model is trained, and by how many workers."""

    num_workers: NumWorkers = 2
    """Number of TensorFlow processes, or a section of `min` and `max` for as many as the cluster has room for. Global
    batches do not depend on it and each step agrees up to rounding, dropout included. But rounding
    grows (docs/multi-worker.md), so another number is another training.
    """

    threads_per_worker: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Number of threads that a worker computes with; `null` divides the cores of a node among its workers. It changes
    rounding: set it where machines with different numbers of cores must give the same bits.
    """

    reproducible: Literal["to_rounding", "bitwise"] = "to_rounding"
    """What another number of workers or threads changes: rounding, or with `bitwise` no bit of the weights.
    `bitwise` always trains as `logical_shards` processes of one thread each, whose sums have a fixed order;
    `num_workers` says on how many workers' cores. It takes longer (docs/multi-worker.md), and no GPU.
    """

    logical_shards: Annotated[int, Field(ge=1, le=64)] = 4
    """Number of parts that a global batch is divided into with `reproducible: bitwise`, a multiple of `num_workers`.
    Another number is another training.
    """

    use_gpu: bool = False
    """Whether each worker has a GPU."""

    resources_per_worker: WorkerResources = WorkerResources()
    """What is reserved for each worker, and on which nodes."""

    driver: DriverResources = DriverResources()
    """What is reserved for the driver, where a cluster's job server takes the training."""

    placement: Literal["pack", "spread"] = "pack"
    """Where Ray puts workers: on few nodes, for a fast ring, or on many, so that a lost node costs few of them and each
    has more of its cores and network. It prefers, and does not insist.
    """

    data_cache_bytes: Annotated[int, Field(ge=0, le=2**50)] = 2**35
    """Bytes of the node's disk for shards of a cluster's storage. A split with larger shards in all, that is trained in
    windows (`window_examples`), is never fetched whole: each node reads its share of the shards, keeps as many as these
    bytes hold, and gives the other nodes their rows.
    """

    max_failures: Annotated[int, Field(ge=0, le=1000)] = 3
    """How often a lost worker or node is replaced, and training resumes from the last checkpoint. Workers that are
    asked to stop (SIGTERM) do not count. An error in a worker's own code ends training without a retry.
    """

    start_timeout_seconds: Annotated[float, Field(ge=10, le=86_400)] = 180
    """How long workers wait for each other at the start, before the group is started again."""

    capacity_timeout_seconds: Annotated[float, Field(ge=10, le=604_800)] = 3600
    """How long training waits for a cluster with room for its workers, at the start and after a node is lost. Then it
    ends with exit code 75, and the same command resumes from the last checkpoint.
    """

    @property
    def min_workers(self) -> int:
        """The fewest workers that train."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers.min

    @property
    def max_workers(self) -> int:
        """The most workers that train."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers.max

    @property
    def cores_per_worker(self) -> int:
        """The number of cores that Ray reserves for each worker."""
        return self.resources_per_worker.cores or 1

    @property
    def is_bitwise(self) -> bool:
        """Whether the weights don't depend on the number of workers and threads."""
        return self.reproducible == "bitwise"

    @property
    def max_processes(self) -> int:
        """The most TensorFlow processes that share a batch."""
        return self.logical_shards if self.is_bitwise else self.max_workers

    @model_validator(mode="after")
    def _a_worker_has_one_gpu_or_none(self) -> Self:
        gpus, kind = self.resources_per_worker.gpus, self.resources_per_worker.accelerator_type
        if gpus is not None and gpus > 1:
            raise ValueError(
                f"resources_per_worker.gpus: {gpus} GPUs for each worker, which trains with one; leave it out, and "
                f"raise num_workers from {self.max_workers} to {min(self.max_workers * gpus, 1024)}"
            )
        if gpus is not None and bool(gpus) != self.use_gpu:
            raise ValueError(
                f"resources_per_worker.gpus is {gpus} and use_gpu is {str(self.use_gpu).lower()}; leave the first out: "
                "with use_gpu each worker gets one"
            )
        if kind is not None and not self.use_gpu:
            raise ValueError(f"resources_per_worker.accelerator_type {kind!r} is a kind of GPU; set use_gpu: true")
        return self

    @model_validator(mode="after")
    def _shards_divide_among_workers(self) -> Self:
        if not self.is_bitwise:
            return self
        if self.use_gpu:
            raise ValueError(
                "reproducible: bitwise needs sums in a fixed order, and those of GPUs are in the order that NCCL finds "
                "fastest; set use_gpu: false, or reproducible: to_rounding"
            )
        for workers in {self.min_workers, self.max_workers}:
            if self.logical_shards % workers:
                raise ValueError(
                    f"reproducible: bitwise: {self.logical_shards} logical_shards can't be divided among {workers} "
                    f"workers; make logical_shards a multiple of num_workers"
                )
        return self

    @model_validator(mode="after")
    def _a_batch_is_enough_for_all(self) -> Self:
        # Twice, because an epoch's examples are dealt evenly over its batches, which may halve them.
        if self.global_batch_size < 2 * self.max_processes > 2:
            parts, setting = ("logical shards", "logical_shards") if self.is_bitwise else ("workers", "num_workers")
            raise ValueError(
                f"global_batch_size {self.global_batch_size} is too small for {self.max_processes} {parts}; raise it "
                f"to {2 * self.max_processes} or more, or lower {setting}"
            )
        return self
