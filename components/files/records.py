"""Notes that one run keeps for the next: one that is not there is no news, one that is damaged is reported."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

T = TypeVar("T")

log = structlog.get_logger()


def read_record(file: Path, parse: Callable[[bytes], T], *, lost: str) -> T | None:
    """What `parse` makes of the file; None where there is none.

    One for which it raises ValueError is set aside and None returned: `lost` says in the log what that means.
    """
    try:
        return parse(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        aside = file.replace(file.with_name(f"{file.name}.damaged"))
        reason = str(error).splitlines()[0]
        log.warning(f"a record is damaged, or of another version; {lost}", kept_as=str(aside), reason=reason)
        return None
