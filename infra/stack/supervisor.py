"""One process that starts services in the order of their needs, restarts what dies, and ends all of them."""

import json
import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

import psutil

from infra.stack.processes import Identity, adopt_orphans, end, identify, reap_orphans
from infra.stack.services import Service, run_as
from infra.stack.state import read_json, write_private

_LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Patience:
    """When to give up: a service that fails more often than `max_failures` times in a row, the pauses doubling."""

    max_failures: int = 5
    pause_seconds: float = 1.0
    steady_seconds: float = 60.0
    """What ran for so long counts as well: its next failure is the first."""


@dataclass(frozen=True)
class Status:
    """How a service is: waiting, starting, ready, done (a step), pausing (it died), failed (given up) or stopped."""

    state: str = "waiting"
    pid: int | None = None
    started: float | None = None
    restarts: int = 0
    seconds: float = 0.0
    """From its start until it was ready or done."""
    reason: str = ""

    @property
    def leader(self) -> Identity | None:
        """Its process, None if it has none now."""
        return Identity(self.pid, self.started) if self.pid and self.started else None


@dataclass(frozen=True)
class Record:
    """What a supervisor has written down: itself, and its services in their order."""

    supervisor: Identity
    services: Mapping[str, Status]


def read_record(file: Path) -> Record | None:
    """The record of the last supervisor; None if there never was one."""
    content = read_json(file)
    if content is None:
        return None
    services = {name: Status(**status) for name, status in content["services"].items()}
    return Record(Identity(**content["supervisor"]), services)


class Supervisor:
    """Keeps services, each in a thread of its own, and writes at each change how they are."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        record: Path,
        logs: Path,
        environment: Mapping[str, str],
        patience: Patience = Patience(),
    ) -> None:
        self._services = {service.name: service for service in services}
        self._record, self._logs, self._environment, self._patience = record, logs, environment, patience
        self._states = dict.fromkeys(self._services, Status())
        self._processes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopping = False

    def run(self) -> None:
        """Keep all services until SIGTERM or SIGINT; what still runs at the end is killed."""
        adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        threading.excepthook = self._end_loudly
        self._write()
        keepers = [threading.Thread(target=self._keep, args=(one,)) for one in self._services.values()]
        for keeper in keepers:
            keeper.start()
        while not self._stopping or any(keeper.is_alive() for keeper in keepers):
            time.sleep(_LOOK_SECONDS)
            with self._lock:
                reap_orphans({*self._processes.values()})
        for rest in psutil.Process().children():
            end(identify(rest.pid), stop_signal=signal.SIGKILL, grace_seconds=1.0)

    def _stop(self, _number: int, _frame: object) -> None:
        self._stopping = True  # no lock: a signal may come while this very thread holds it

    def _end_loudly(self, failure: threading.ExceptHookArgs) -> None:
        """A mistake of the supervisor's own: everything ends, and `up` shows the traceback."""
        traceback.print_exception(failure.exc_value)
        self._stopping = True

    def _keep(self, service: Service) -> None:
        failures = 0
        while self._wait_for_needs(service):
            began = time.monotonic()
            try:
                reason = self._live(service)
            except OSError as error:
                reason = f"could not be started: {error}"
            if reason is None:
                return
            failures = failures + 1 if time.monotonic() - began < self._patience.steady_seconds else 1
            if failures > self._patience.max_failures:
                self._note(service, state="failed", pid=None, reason=f"{reason}; given up after {failures} times")
                return
            restarts = self._states[service.name].restarts + 1
            self._note(service, state="pausing", pid=None, reason=reason, restarts=restarts)
            self._pause(self._patience.pause_seconds * 2 ** (failures - 1))
        self._note(service, state="stopped", pid=None)

    def _wait_for_needs(self, service: Service) -> bool:
        """Wait until the service may start (True) or everything is to end (False)."""
        while not self._stopping:
            if all(self._states[name].state in ("ready", "done") for name in service.needs):
                return True
            time.sleep(_LOOK_SECONDS)
        return False

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stopping:
            time.sleep(_LOOK_SECONDS)

    def _live(self, service: Service) -> str | None:
        """Start a service and watch it until its end; return why it failed, None if it ended as it should."""
        with (self._logs / f"{service.name}.log").open("ab") as log:
            process, leader = self._start(service, log)
        try:
            reason = self._watch(service, process)
        finally:
            end(leader, stop_signal=service.stop_signal, grace_seconds=service.stop_seconds)
            process.wait()
        if reason is None:
            self._note(service, state="done" if service.once and process.returncode == 0 else "stopped", pid=None)
        return reason

    def _start(self, service: Service, log: IO[bytes]) -> tuple["subprocess.Popen[bytes]", Identity]:
        with self._lock:  # or its end might be noted for that of an orphan
            process = subprocess.Popen(
                service.command,
                env={**self._environment, **service.environment},
                cwd=service.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **run_as(service.user),
            )
            self._processes[service.name] = process.pid
        leader = identify(process.pid)  # not yet reaped, so there is one, even if it has ended
        self._note(service, state="starting", pid=leader.pid, started=leader.started, reason="")
        return process, leader

    def _watch(self, service: Service, process: "subprocess.Popen[bytes]") -> str | None:
        began, started = time.monotonic(), time.time()
        is_ready = False
        while process.poll() is None:
            if self._stopping and self._may_end(service):
                return None
            if not is_ready and service.is_ready(started):
                is_ready = True
                self._note(service, state="ready", seconds=time.monotonic() - began)
            if not is_ready and time.monotonic() - began > service.start_seconds:
                return f"was not ready within {service.start_seconds:.0f} s"
            time.sleep(_LOOK_SECONDS)
        if service.once and process.returncode == 0:
            self._note(service, seconds=time.monotonic() - began)
            return None
        return _how_it_ended(process.returncode)

    def _may_end(self, service: Service) -> bool:
        """Whether all that may still call this service has ended."""
        later = [name for name, other in self._services.items() if other.tier > service.tier]
        return not any(self._states[name].state in ("starting", "ready") for name in later)

    def _note(self, service: Service, **changes: str | float | None) -> None:
        with self._lock:
            self._states[service.name] = replace(self._states[service.name], **changes)  # type: ignore[arg-type]
            self._write()

    def _write(self) -> None:
        content = {
            "supervisor": asdict(identify(os.getpid())),
            "services": {name: asdict(status) for name, status in self._states.items()},
        }
        write_private(self._record, json.dumps(content, indent=2))


def _how_it_ended(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
