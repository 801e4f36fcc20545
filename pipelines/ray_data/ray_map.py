"""The data steps' map as tasks on Ray: pieces travel through its object store, so nodes need not share a disk."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from headrace.components.errors import ServiceError
from headrace.components.mapping import Item, Map, Result
from headrace.pipelines.ray_cluster.connect import ray_session

_TRIES_AGAIN = 5  # of a task whose node or process was lost
_STORE_BYTES = 1 << 30  # where Ray is embedded: blocks and shards travel through it


@contextmanager
def ray_map() -> Iterator[Map]:
    """Yield the map of the cluster at RAY_ADDRESS or, without one, of a Ray that is embedded here."""
    with ray_session(num_workers=os.cpu_count() or 1, object_store_bytes=_STORE_BYTES):
        yield map_on_ray


def map_on_ray(function: Callable[[Item], Result], items: Iterable[Item], /) -> Generator[Result, None, None]:
    """Yield `function(item)` for every item, in order, computed by tasks on the cluster's nodes.

    Tasks whose node or process is lost are run again; only what this process takes is ever written, so nothing comes
    twice. Raises what the function raised; ServiceError for a task that was lost again and again.
    """
    task = ray.remote(_call).options(max_retries=_TRIES_AGAIN, scheduling_strategy="SPREAD")
    shared = ray.put(function)  # once, whatever it holds
    limit = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    pending: deque[Any] = deque()
    try:
        for item in items:
            pending.append(task.remote(shared, ray.put(_portable(item))))
            if len(pending) == limit:
                yield _result(pending.popleft())
        while pending:
            yield _result(pending.popleft())
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)


def _portable(item: Any) -> Any:
    match item:
        case Path():
            return item.read_bytes()
        case tuple():
            return tuple(map(_portable, item))
        case _:
            return item


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise ServiceError(f"Ray lost a task of the data steps {_TRIES_AGAIN} times: {error}; run again") from error
