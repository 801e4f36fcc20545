"""How the data steps call one function for many pieces of data: here in a few threads, or on the nodes of a cluster."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Map(Protocol):
    """Calls a function for every item and gives back the results in the order of the items, as they are asked for.

    Items are taken as room for them becomes free, so there may be more of them than memory holds. A path among them is
    given to the function as it is, or as its file's content (bytes) where the function runs on another machine. The
    function must be pure: a call that is lost is made again.
    """

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        """Yield `function(item)` for every item, in order."""


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], /, *, threads: int = 2, waiting: int = 1
) -> Iterator[Result]:
    """Yield `function(item)` for every item, in order; at most `threads + waiting` items are under way or waiting.

    Threads are enough where Polars, Arrow or NumPy do the work, since they let go of Python's lock.
    """
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Any]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) == threads + waiting:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
