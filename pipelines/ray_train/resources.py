"""What the workers of a training need of Ray: how many there are, their cores, memory and GPUs, and which nodes."""

import math

import ray
from ray.train import ScalingConfig

from headrace.components.errors import ParamsError
from headrace.pipelines.distributed_plan import DistributedPlan
from headrace.pipelines.ray_cluster.connect import is_remote

RESIZE_INTERVAL_SECONDS = 10.0  # between checks of the cluster; the group restarts only where it has changed
RAYS_PRECISION = 10_000  # Ray counts cores in parts of these


def scaling(train: DistributedPlan) -> ScalingConfig:
    """Number of processes that Ray starts, the resources of each, and where it puts them.

    The processes of a bitwise training share the cores and memory of its fewest workers, so it starts wherever these
    have room.
    """
    wanted, resources = train.resources_per_worker, worker_resources(train)
    where = {"placement_strategy": train.placement.upper(), "label_selector": wanted.labels}
    if train.is_bitwise:
        share = train.min_workers / train.logical_shards
        # Rounded down: rounded up, the last process has no room.
        shares: dict[str, float] = {name: math.floor(share * value) for name, value in resources.items()}
        shares["CPU"] = math.floor(share * resources["CPU"] * RAYS_PRECISION) / RAYS_PRECISION
        return ScalingConfig(num_workers=train.logical_shards, resources_per_worker=shares, **where)
    return ScalingConfig(
        num_workers=train.num_workers if isinstance(train.num_workers, int) else (train.min_workers, train.max_workers),
        use_gpu=train.use_gpu,
        resources_per_worker=resources,
        accelerator_type=wanted.accelerator_type,
        elastic_resize_monitor_interval_s=RESIZE_INTERVAL_SECONDS,
        **where,
    )


def worker_resources(train: DistributedPlan) -> dict[str, float]:
    """Cores, GPUs and bytes of memory of each worker, by Ray's names; nothing that is none."""
    wanted = {
        "CPU": train.cores_per_worker,
        "GPU": int(train.use_gpu),
        "memory": train.resources_per_worker.memory_bytes or 0,
    }
    return {name: value for name, value in wanted.items() if value}


def requested(train: DistributedPlan) -> str:
    """The workers that a training waits for, in words."""
    cores, wanted = train.cores_per_worker, train.resources_per_worker
    needs = ["one core" if cores == 1 else f"{cores} cores"]
    needs += [f"one GPU{f' ({wanted.accelerator_type})' if wanted.accelerator_type else ''}"] if train.use_gpu else []
    needs += [f"{wanted.memory_bytes / 2**30:.1f} GiB"] if wanted.memory_bytes else []
    *others, last = needs
    listed = f"{', '.join(others)} and {last}" if others else last
    nodes = (
        f" on nodes with {', '.join(f'{key}={value}' for key, value in wanted.labels.items())}" if wanted.labels else ""
    )
    return f"{train.min_workers} workers of {listed} each{nodes} are requested"


def require_resources(train: DistributedPlan) -> None:
    """Raise ParamsError where the Ray of this process can't have the workers; a cluster is not checked: it may grow."""
    if is_remote():
        return
    has, wanted = ray.cluster_resources(), train.resources_per_worker
    gpus, memory_bytes = int(has.get("GPU", 0)), train.min_workers * (wanted.memory_bytes or 0)
    elsewhere = "or set RAY_ADDRESS to a cluster that has them"
    if train.use_gpu and gpus < train.min_workers:
        raise ParamsError(
            f"train.use_gpu: {train.min_workers} workers need as many GPUs, and Ray finds {gpus} on this machine; set "
            f"train.use_gpu: false, lower train.num_workers, {elsewhere}"
        )
    if memory_bytes > has.get("memory", 0):
        raise ParamsError(
            f"train.resources_per_worker.memory_bytes: {train.min_workers} workers need {memory_bytes / 2**30:.1f} "
            f"GiB, and Ray finds {has.get('memory', 0) / 2**30:.1f} GiB free on this machine; lower it, {elsewhere}"
        )
    kind = wanted.accelerator_type
    if kind is not None and f"accelerator_type:{kind}" not in has:
        raise ParamsError(
            f"train.resources_per_worker.accelerator_type: no {kind} on this machine; leave it out, {elsewhere}"
        )
    if wanted.labels:
        raise ParamsError(
            "train.resources_per_worker.labels: nodes of a cluster have labels, and this is the Ray of one process; "
            f"leave them out, {elsewhere}"
        )
