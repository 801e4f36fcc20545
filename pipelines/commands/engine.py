"""Where the data steps compute: in threads of this process, or in tasks of a Ray cluster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from headrace.components.mapping import Map, map_in_threads


class Engine(StrEnum):
    """What `--engine` may say."""

    THREADS = "threads"
    RAY = "ray"


@contextmanager
def open_map(engine: Engine | None) -> Iterator[Map]:
    """Yield the map of an engine: by default Ray if RAY_ADDRESS names a cluster that takes drivers, else threads."""
    address = os.environ.get("RAY_ADDRESS", "")
    takes_drivers = bool(address) and not address.startswith(("http://", "https://"))  # that is a job server
    if engine == Engine.RAY or (engine is None and takes_drivers):
        from headrace.pipelines.ray_data.ray_map import ray_map  # Ray takes a second to import

        with ray_map() as map_:
            yield map_
    else:
        yield map_in_threads
