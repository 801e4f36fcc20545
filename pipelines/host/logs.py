"""The log of every process of Headrace: lines for people or, with HEADRACE_LOG=json, one JSON object a line."""

import json
import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from headrace.components.errors import ParamsError
from headrace.components.redaction import redacted

FORMAT_VARIABLE, LEVEL_VARIABLE = "HEADRACE_LOG", "HEADRACE_LOG_LEVEL"
LOG_VARIABLES = (FORMAT_VARIABLE, LEVEL_VARIABLE)  # which jobs and workers get, too

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_context: dict[str, str] = {}  # of the process, whose threads all work on the same


def is_json() -> bool:
    """Whether the log is JSON."""
    return os.environ.get(FORMAT_VARIABLE, "text") == "json"


def configure_logging() -> None:
    """Send log lines to standard error, in the format and from the level on that the environment says.

    Lines in JSON have `time` (ISO 8601, UTC), `level`, `message`, all that `log_as` was given, and the line's own
    values; those of other libraries, which use Python's own logging, are the same. Raises ParamsError for a variable
    that is neither.
    """
    _require_known()
    level = _LEVELS[os.environ.get(LEVEL_VARIABLE, "info")]
    line_of = [*_json_line(), _redacted] if is_json() else [*_readable_line(), _redacted]
    structlog.configure(
        processors=[structlog.processors.add_log_level, *line_of],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    if is_json():
        _send_other_lines(max(level, logging.WARNING))


def log_as(**names: str | int | None) -> None:
    """Have every later JSON line of this process say these: pipeline, run, job, rank; None takes one back."""
    for name, value in names.items():
        if value is None:
            _context.pop(name, None)
        else:
            _context[name] = str(value)


def log_context() -> Mapping[str, str]:
    """What `log_as` was given so far, for a process that works on the same."""
    return dict(_context)


def error_of(line: str) -> str | None:
    """The message of a line that says why a command ended, in either format; None for any other line."""
    if line.startswith("error: "):
        return line.removeprefix("error: ")
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    is_error = isinstance(found, dict) and found.get("level") in ("error", "critical")
    return str(found.get("message", "")) if is_error else None


def _require_known() -> None:
    for name, default, expected in (
        (FORMAT_VARIABLE, "text", ("text", "json")),
        (LEVEL_VARIABLE, "info", tuple(_LEVELS)),
    ):
        if (found := os.environ.get(name, default)) not in expected:
            raise ParamsError(f"{name}={found}: expected {' or '.join(expected)}")


def _readable_line() -> list[Any]:
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
    ]


def _json_line() -> list[Any]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        _with_context,
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
    ]


def _with_context(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The line with the process's names between what all lines have and its own values."""
    first = {name: line.pop(name) for name in ("time", "level", "message") if name in line}
    return {**first, **_context, **line}


def _redacted(_logger: Any, _method: str, line: Any) -> str:
    return redacted(str(line))


def _send_other_lines(level: int) -> None:
    """Have what libraries log, and warnings, be JSON as well."""
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # else MLflow writes lines of its own format
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_json_line(), _redacted],
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
