"""Fuzzing. `make fuzz` repeats the properties marked `fuzz`, on new inputs, until FUZZ_SECONDS are over; no input may
take long or fill memory, there and in `make test`.
"""

import os
import resource
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

LONGEST_SECONDS = 20  # for one input; a busy machine takes some of them
MOST_BYTES = 1 << 30
_inputs: Counter[str] = Counter()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if pyfuncitem.get_closest_marker("fuzz") is None:
        return None
    seconds = float(os.environ.get("FUZZ_SECONDS", "0"))
    fuzzed = [item for item in pyfuncitem.session.items if item.get_closest_marker("fuzz")]
    end = time.monotonic() + seconds / len(fuzzed)
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    given, before = pyfuncitem.obj.hypothesis, _peak_bytes()
    inner_test = given.inner_test
    given.inner_test = _watched(inner_test, pyfuncitem.nodeid)
    try:
        pyfuncitem.obj(**arguments)
        while time.monotonic() < end:
            pyfuncitem.obj(**arguments)
    finally:
        given.inner_test = inner_test
    assert _peak_bytes() - before < MOST_BYTES
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if "FUZZ_SECONDS" in os.environ:
        for name, inputs in _inputs.items():
            terminalreporter.write_line(f"{inputs:9,} inputs  {name}")


def _watched(inner_test: Callable[..., None], name: str) -> Callable[..., None]:
    def one(*args: Any, **drawn: Any) -> None:
        _inputs[name] += 1
        begin = time.monotonic()
        inner_test(*args, **drawn)
        assert time.monotonic() - begin < LONGEST_SECONDS

    return one


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
