"""The progress file: one JSON line per epoch, from worker 0 to whoever follows the training."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def tell(progress: Path, figures: Mapping[str, float]) -> None:
    """Add a line to the progress file."""
    with progress.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(figures)) + "\n")


def follow(progress: Path, shown: int, on_epoch: Callable[[dict[str, Any]], None]) -> int:
    """Report the lines from `shown` on, and return how many there are; a line still being written waits."""
    if not progress.exists():
        return shown
    lines = progress.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    for line in whole[shown:]:
        on_epoch(json.loads(line))
    return len(whole)
