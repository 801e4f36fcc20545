"""Items one after the other, in groups that are held in memory together."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def grouped(
    items: Iterable[Item], *, size_bytes: Callable[[Item], int], most_bytes: int, most_items: int
) -> Iterator[list[Item]]:
    """Yield items in their order, in groups that end where they have `most_bytes` or more, or `most_items`."""
    group: list[Item] = []
    group_bytes = 0
    for item in items:
        group.append(item)
        group_bytes += size_bytes(item)
        if group_bytes >= most_bytes or len(group) == most_items:
            yield group
            group, group_bytes = [], 0
    if group:
        yield group
