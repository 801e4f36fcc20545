import json

import pytest
import structlog

from headrace.components.files.records import read_record
from headrace.pipelines.tracking.training_run import record_file, settle


def test_a_record_that_is_not_there_is_no_news(tmp_path):
    with structlog.testing.capture_logs() as logs:
        assert read_record(tmp_path / "one.json", json.loads, lost="all") is None
    assert logs == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_a_damaged_record_is_reported_and_set_aside(tmp_path, content):
    file = tmp_path / "one.json"
    file.write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        assert read_record(file, json.loads, lost="all of it is made again") is None
    assert "damaged" in logs[0]["event"]
    assert "all of it is made again" in logs[0]["event"]
    assert file.with_name("one.json.damaged").read_bytes() == content
    assert not file.exists()


def test_a_damaged_record_of_a_training_is_reported(tmp_path):
    file = record_file(tmp_path, "digits-0123")
    file.parent.mkdir(parents=True)
    file.write_text("")
    with structlog.testing.capture_logs() as logs:
        settle(tmp_path, "digits-0123", status="KILLED", reason="lost")
    assert "gets a new MLflow run" in logs[0]["event"]
