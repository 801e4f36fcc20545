from pathlib import Path

import pytest

from headrace.pipelines.params import Train
from headrace.pipelines.ray_train.progress_files import follow, report_event, write_file
from headrace.pipelines.ray_train.training_events import EpochEvent, NoteEvent
from headrace.pipelines.ray_train.training_job import TrainJob


@pytest.fixture
def job(tmp_path: Path) -> TrainJob:
    optimizer = {"kind": "sgd", "learning_rate": 0.1}
    train = {"model": {"layers": []}, "optimizer": optimizer, "global_batch_size": 8, "epochs": 1}
    return TrainJob(
        run_name="digits-0",
        folder=tmp_path,
        splits=tmp_path,
        statistics=tmp_path,
        train=Train.model_validate(train),
    )


def test_events_are_reported_once_and_in_order(job):
    seen = []
    offset = follow(job.progress, 0, seen.append)
    report_event(job, EpochEvent(epoch=1, loss=0.5))
    offset = follow(job.progress, offset, seen.append)
    report_event(job, NoteEvent(note="x"))
    offset = follow(job.progress, offset, seen.append)
    assert follow(job.progress, offset, seen.append) == offset
    assert seen == [EpochEvent(epoch=1, loss=0.5), NoteEvent(note="x")]


def test_a_line_that_is_still_being_written_waits(job):
    seen = []
    report_event(job, EpochEvent(epoch=1))
    with job.progress.open("a") as file:
        file.write('\n{"kind": "epoch", "epoch": 2')
    offset = follow(job.progress, 0, seen.append)
    report_event(job, EpochEvent(epoch=3))
    follow(job.progress, offset, seen.append)
    assert [event.epoch for event in seen] == [1, 3]


def test_what_was_reported_is_not_read_again(job):
    report_event(job, EpochEvent(epoch=1))
    offset = follow(job.progress, 0, lambda event: None)
    size = job.progress.stat().st_size
    job.progress.write_bytes(b"\0" * size)  # a hole, which is no line
    report_event(job, EpochEvent(epoch=2))
    seen = []
    assert follow(job.progress, offset, seen.append) == job.progress.stat().st_size
    assert seen == [EpochEvent(epoch=2)]


def test_training_goes_on_where_nothing_can_be_written(job):
    report_event(job.model_copy(update={"folder": job.folder / "absent"}), EpochEvent(epoch=1))


def test_a_file_appears_whole(job):
    write_file(job, job.preempted, "after step 5")
    assert job.preempted.read_text() == "after step 5"
