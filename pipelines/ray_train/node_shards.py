"""An actor on each node of a training: it reads the node's shards from the storage, and deals out rows to all workers.

It is a process of its own, so that reading and decompressing take nothing from the interpreter of a worker.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from headrace.components.errors import ServiceError, UserError
from headrace.components.training.feeding.window_parts import NodeRows, Shard, WindowPart
from headrace.pipelines.compatibility.ray_internals import on_this_node
from headrace.pipelines.object_store.file_cache import FileCache
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.object_store.published import published
from headrace.pipelines.ray_train.backend import group_nodes
from headrace.pipelines.ray_train.node import scratch_folder
from headrace.pipelines.ray_train.progress_files import report_event
from headrace.pipelines.ray_train.shard_files import ShardFiles
from headrace.pipelines.ray_train.training_events import NoteEvent
from headrace.pipelines.ray_train.training_job import TrainJob

CALLS_AT_ONCE = 64
POLL_SECONDS = 0.1
REMOVE_SECONDS = 10.0


class NodeShards:
    """What the actor of node number `node` of a group does."""

    def __init__(self, job_json: str, node: int) -> None:
        job = TrainJob.model_validate_json(job_json)
        storage = open_storage(str(job.storage))
        manifest = published(str(job.inputs), storage=storage)
        if manifest is None:
            raise ServiceError(f"{job.inputs} is not in the storage {job.storage}; start the training again")
        # Several nodes may be on one machine.
        self._folder = scratch_folder(job) / f"shards-{ray.get_runtime_context().get_node_id()}"
        cache = FileCache(self._folder, limit_bytes=job.train.data_cache_bytes)
        files = ShardFiles(
            manifest,
            key=str(job.inputs),
            storage=storage,
            cache=cache,
            on_note=lambda note: report_event(job, NoteEvent(note=note)),
        )
        self._opened, self._rows = files.opened, NodeRows(node=node, open_shard=files.opened)

    def first_shard(self, split: str) -> tuple[int, pa.Schema]:
        """Number of rows of a split's first shard, and its columns."""
        with self._opened(Shard(split, 0, next_use_epoch=0.0)) as file:
            found = pq.ParquetFile(file)
            return found.metadata.num_rows, found.schema_arrow

    def rows(self, part: WindowPart) -> pa.Table | None:
        """What `NodeRows.rows` gives."""
        rows = self._rows.rows(part)
        return None if rows is None else rows.to_arrow()

    def remove_files(self) -> str:
        """Remove the shards of this node, whose training has ended: else they stay. Returns their folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        return str(self._folder)


class RemoteNodes:
    """The actors of all nodes of this worker's group."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = actors

    def __len__(self) -> int:
        return len(self._actors)

    def first_shard(self, split: str) -> tuple[int, pa.Schema]:
        """Number of rows of a split's first shard, and its columns."""
        [found] = _answers([self._actors[0].first_shard.remote(split)])
        return found  # type: ignore[no-any-return]

    def rows(self, part: WindowPart) -> Sequence[pl.DataFrame | None]:
        """What `NodeRows.rows` gives on each node, in the order of nodes."""
        tables = _answers([actor.rows.remote(part) for actor in self._actors])
        return [None if table is None else pl.DataFrame(pl.from_arrow(table)) for table in tables]


@contextmanager
def nodes_with_shards(job: TrainJob) -> Iterator[RemoteNodes]:
    """The nodes of this worker's group with an actor each, which the node's first worker starts and ends.

    Raises ConnectionError where another node's actor is not there after `train.start_timeout_seconds`.
    """
    group = group_nodes()
    nodes = list(dict.fromkeys(group.node_ids))
    names = [f"headrace-{job.run_name}-shards-{group.name}-{node}" for node in range(len(nodes))]
    own: list[Any] = []
    if group.node_ids.index(group.node_ids[group.rank]) == group.rank:
        number = nodes.index(group.node_ids[group.rank])
        actor = ray.remote(num_cpus=0, max_concurrency=CALLS_AT_ONCE, label_selector=on_this_node())(NodeShards)
        own.append(actor.options(name=names[number]).remote(job.model_dump_json(), number))
    try:
        deadline_seconds = time.monotonic() + job.train.start_timeout_seconds
        yield RemoteNodes([_actor(name, deadline_seconds) for name in names])
    finally:
        for one in own:
            with suppress(ray.exceptions.RayError):  # it is gone, or busy
                ray.get(one.remove_files.remote(), timeout=REMOVE_SECONDS)
            ray.kill(one)


def _actor(name: str, deadline_seconds: float) -> Any:
    while True:
        try:
            return ray.get_actor(name)
        except ValueError as error:  # Ray knows no such actor yet
            if time.monotonic() > deadline_seconds:
                raise ConnectionError(f"lost worker: {name} did not start") from error
            time.sleep(POLL_SECONDS)


def _answers(references: list[Any]) -> list[Any]:
    """What the actors answer; raises their own UserError, and ConnectionError where one is gone with its node."""
    try:
        return list(ray.get(references))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise ConnectionError(f"lost worker: a node's shards can't be read: {' '.join(str(error).split())}") from error
