"""How the data steps call one function for many pieces of data: here in a few threads, or on the nodes of a cluster."""

import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Map(Protocol):
    """Calls a function for every item and gives back the results in the order of the items, as they are asked for.

    Items are taken as room for them becomes free, so there may be more of them than memory holds. A path among them, or
    in a tuple of them, is given to the function as it is, or as its file's content (bytes) where the function runs on
    another machine. The function must be pure: a call that is lost is made again.
    """

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Generator[Result, None, None]:
        """Yield `function(item)` for every item, in order."""


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], /, *, threads: int = 2, waiting: int = 1
) -> Generator[Result, None, None]:
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


def read_ahead(items: Iterable[Item], /) -> Generator[Item, None, None]:
    """Yield items in order; each is made in a thread while the one before it is used."""
    waiting, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        pending: Future[Any] = thread.submit(next, waiting, end)
        while (item := pending.result()) is not end:
            pending = thread.submit(next, waiting, end)
            yield item


def map_to_files(
    map_: Map, function: Callable[[Item, Path], Result], items: Iterable[tuple[Item, Path]], /
) -> Generator[Result, None, None]:
    """Yield what `function(item, file)` returns for every item, in order, after it has written that file.

    Where the function runs on this machine it writes to the file itself: content that is held in memory first costs
    as much again. From another machine the content is copied.
    """
    files: deque[Path] = deque()
    with closing(map_(partial(_write, function), _with_output(items, files))) as written:
        for result, content in written:
            file = files.popleft()
            if content is not None:
                file.write_bytes(content)
            yield result


@dataclass(frozen=True)
class _Output:
    """A file of this machine, which is None on any other, and in another process."""

    file: Path | None

    def __reduce__(self) -> tuple[type["_Output"], tuple[None]]:
        return _Output, (None,)


def _with_output(items: Iterable[tuple[Item, Path]], files: deque[Path]) -> Iterator[tuple[Item, _Output]]:
    for item, file in items:
        files.append(file)
        yield item, _Output(file)


def _write(function: Callable[[Any, Path], Result], piece: tuple[Any, _Output]) -> tuple[Result, bytes | None]:
    item, output = piece
    if output.file is not None:
        return function(item, output.file), None
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        file = Path(folder) / "output"
        result = function(item, file)
        return result, file.read_bytes()
