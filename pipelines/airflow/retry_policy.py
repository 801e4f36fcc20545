"""Why a task failed, and whether to retry it: a mistake fails without a retry, a fault that may pass is retried."""

import random
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from headrace.components.errors import EXIT_LIMIT, EXIT_MISTAKE, EXIT_SERVICE, UserError
from headrace.components.redaction import redacted
from headrace.pipelines.ray_jobs.jobs import last_error

_EXITED = re.compile(r"exited with (-?\d+)\s*$")  # DVC's last line; its own exit code is 255 whatever the stage's is


class Cause(StrEnum):
    """Why a task failed."""

    MISTAKE = "a mistake in data or parameters"
    LIMIT = "a limit was crossed"
    SERVICE = "a service, storage or network is away"
    LOST = "its process, node or cluster was lost"
    UNKNOWN = "unknown"


FINAL = frozenset({Cause.MISTAKE, Cause.LIMIT})  # another attempt would end in the same way
PASSING = frozenset({Cause.SERVICE, Cause.LOST})  # may be otherwise at the next attempt


class StageFailed(AirflowException):  # type: ignore[misc]  # mypy does not follow imports into Airflow
    """A stage ended without its results; `last_error` is what it said last."""

    def __init__(self, target: str, cause: Cause, last_error: str) -> None:
        last_error = redacted(last_error)
        super().__init__(f"{redacted(target)} failed ({cause}): {last_error}")
        self.target, self.cause, self.last_error = target, cause, last_error


class StageMistaken(StageFailed, AirflowFailException):  # type: ignore[misc]
    """The same for what only a user can judge or fix: Airflow does not retry, whatever its retry policy is."""


def stage_failed(target: str, *, output: Iterable[str], exit_code: int | None) -> StageFailed:
    """The error of a stage, or its Ray job, by how it ended; the exit code is None where nobody saw it end.

    `output` are its last lines. Where DVC ran the stage, the last of them has the stage's own exit code.
    """
    lines = [line.rstrip() for line in output if line.strip()]
    if lines and (exited := _EXITED.search(lines[-1])):
        lines, exit_code = lines[:-1], int(exited[1])
    cause = cause_of_exit(exit_code)
    kind = StageMistaken if cause in FINAL else StageFailed
    return kind(target, cause, last_error("\n".join(lines)) or f"no word, exit code {exit_code}")


class RetryByCause(RetryPolicy):  # type: ignore[misc]
    """Does not retry a mistake, waits longer and longer for a fault that may pass, else does as the task says.

    The wait after attempt n is drawn between half and all of `first_seconds` * 2^(n - 1), at most `longest_seconds`.
    """

    def __init__(self, *, first_seconds: float = 30.0, longest_seconds: float = 1800.0) -> None:
        self._first_seconds, self._longest_seconds = first_seconds, longest_seconds

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,  # noqa: ARG002 - Airflow itself counts
        context: Any = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Decide whether attempt `try_number`, counted from 1, is retried, and after how long."""
        cause = cause_of(exception)
        if cause in FINAL:
            return RetryDecision.fail(reason=cause)
        if cause in PASSING:
            return RetryDecision.retry(delay=self._delay(try_number), reason=cause)
        return RetryDecision.default()

    def _delay(self, try_number: int) -> timedelta:
        """Many tasks fail together with a service: they should not return to it together."""
        seconds = min(self._longest_seconds, self._first_seconds * 2.0 ** min(try_number - 1, 64))
        return timedelta(seconds=seconds * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


def cause_of_exit(exit_code: int | None) -> Cause:
    """Cause by the exit code of `headrace`; negative or 129 to 159 is a signal, None where nobody saw it end.

    >>> cause_of_exit(-9).name, cause_of_exit(75).name, cause_of_exit(1).name
    ('LOST', 'SERVICE', 'UNKNOWN')
    """
    if exit_code is None or exit_code < 0 or 128 < exit_code < 160:
        return Cause.LOST
    known = {EXIT_MISTAKE: Cause.MISTAKE, EXIT_LIMIT: Cause.LIMIT, EXIT_SERVICE: Cause.SERVICE}
    return known.get(exit_code, Cause.UNKNOWN)


def cause_of(exception: BaseException) -> Cause:
    """Cause by the exception, or by the nearest one in its chain that is known."""
    for error in _chain(exception):
        match error:
            case StageFailed():
                return error.cause
            case UserError():
                return cause_of_exit(error.exit_code)
            case ConnectionError() | TimeoutError():
                return Cause.SERVICE
    return Cause.UNKNOWN


def _chain(exception: BaseException) -> Iterator[BaseException]:
    error: BaseException | None = exception
    while error is not None:
        yield error
        error = error.__cause__
