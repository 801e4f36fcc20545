"""The progress file: one JSON line per event, from worker 0 to whoever follows the training."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

Kind = Literal["group", "epoch", "progress", "note"]


def tell(progress: Path, kind: Kind, content: Mapping[str, Any]) -> None:
    """Add a line to the progress file; where there is no room for it, training goes on without it.

    A line begins with a line break, so that one cut short by a full disk does not spoil the next.
    """
    try:
        with progress.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({"kind": kind, **content}) + "\n")
    except OSError:
        return  # nobody to tell: figures are in the checkpoints too


def follow(progress: Path, shown: int, on_event: Callable[[dict[str, Any]], None]) -> int:
    """Report the lines from `shown` on, and return how many there are; a line still being written waits."""
    if not progress.exists():
        return shown
    lines = progress.read_bytes().split(b"\n")[:-1]
    for line in lines[shown:]:
        event = _event(line)
        if event is not None:
            on_event(event)
    return len(lines)


def _event(line: bytes) -> dict[str, Any] | None:
    """What a line says; None for an empty one, or one that was cut short."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
