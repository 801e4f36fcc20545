"""The log of a command, for people and for machines."""

import json
import os
import subprocess
import sys
from datetime import datetime

import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.host.logs import configure_logging, error_of
from headrace.pipelines.ray_jobs.jobs import last_error

PROGRAM = """
import logging, warnings, structlog
from headrace.pipelines.host.logs import configure_logging, log_as, log_context
configure_logging()
log = structlog.get_logger()
log_as(pipeline="digits", run="digits-1", job=None)
log.debug("unseen")
log.info("trained", epochs=3, url="https://ada:secret@example.org/x")
log_as(rank=2)
log.warning("slow", seconds=1.5)
logging.getLogger("mlflow.x").warning("of %s", "another library")
warnings.warn("a warning", stacklevel=1)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
assert log_context() == {"pipeline": "digits", "run": "digits-1", "rank": "2"}
"""


def lines_of(**environment: str) -> list[str]:
    variables = {**os.environ, **environment}
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr.splitlines()


def test_each_line_is_an_object_with_time_level_and_what_it_is_of() -> None:
    lines = [json.loads(line) for line in lines_of(HEADRACE_LOG="json")]
    trained, slow, other, warned, broken = lines
    assert list(trained)[:5] == ["time", "level", "message", "pipeline", "run"]
    assert datetime.fromisoformat(trained["time"]).tzinfo is not None
    assert (trained["level"], trained["message"], trained["epochs"]) == ("info", "trained", 3)
    assert "secret" not in trained["url"]
    assert (slow["rank"], slow["level"], slow["seconds"]) == ("2", "warning", 1.5)
    assert (other["message"], other["logger"], other["pipeline"]) == ("of another library", "mlflow.x", "digits")
    assert "a warning" in warned["message"]
    assert broken["level"] == "error" and "ZeroDivisionError" in broken["exception"]


def test_the_level_leaves_lines_out_and_text_has_no_context() -> None:
    assert [json.loads(line)["message"] for line in lines_of(HEADRACE_LOG="json", HEADRACE_LOG_LEVEL="error")] == [
        "broken"
    ]
    text = lines_of()
    assert "trained" in text[0] and "epochs=3" in text[0] and "digits-1" not in text[0]


def test_a_command_ends_with_its_error_in_the_format_of_the_log(tmp_path) -> None:
    command = [sys.executable, "-m", "headrace", "list"]

    def ended(**environment: str) -> str:
        variables = {**os.environ, **environment}
        found = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert found.returncode == 2
        return found.stderr.strip()

    as_json, as_text = ended(HEADRACE_LOG="json"), ended()
    assert json.loads(as_json)["exit_code"] == 2
    assert error_of(as_json) == error_of(as_text) == last_error(f"{as_json}\nmore") == json.loads(as_json)["message"]


@pytest.mark.parametrize(
    ("name", "value", "expected"), [("", "xml", "text or json"), ("_LEVEL", "loud", "debug or info")]
)
def test_another_format_or_level_is_refused(monkeypatch, name: str, value: str, expected: str) -> None:
    monkeypatch.setenv(f"HEADRACE_LOG{name}", value)
    with pytest.raises(ParamsError, match=f"HEADRACE_LOG{name}={value}: expected {expected}"):
        configure_logging()


@pytest.mark.parametrize("line", ["{", '{"level": "info", "message": "x"}', "plain", "[1]"])
def test_other_lines_are_no_errors(line: str) -> None:
    assert error_of(line) is None
