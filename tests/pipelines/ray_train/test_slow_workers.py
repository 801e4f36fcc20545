"""Workers that make the others wait, by their own figures."""

import json
from pathlib import Path

from headrace.pipelines.ray_train.progress_files import Samples, report_sample
from headrace.pipelines.ray_train.slow_workers import SlowWorkers
from headrace.pipelines.ray_train.training_events import WorkerSample, parse_event
from headrace.pipelines.ray_train.training_job import TrainJob
from headrace.pipelines.ray_train.worker_figures import OF_TRAINING, OF_WORKER, PREFIX


def sample(rank: int, seconds: float, *, at: float = 100.0, workers: int = 4) -> WorkerSample:
    place = {"rank": rank, "num_workers": workers, "host": f"node-{rank}", "at_seconds": at, "step": 7}
    return WorkerSample(**place, compute_seconds=seconds)


def seen(slow: SlowWorkers, *seconds: float, at: float) -> str | None:
    samples = [sample(rank, one, at=at, workers=len(seconds)) for rank, one in enumerate(seconds)]
    return slow.see(samples, now_seconds=at)


def test_a_worker_that_stays_slow_is_named_once_with_its_host_and_factor() -> None:
    slow = SlowWorkers()
    found = [seen(slow, 0.1, 0.1, 0.11, 0.18, at=100 + 10 * place) for place in range(5)]
    assert found == [None, None, "worker 3 on node-3 takes 1.8 times the others' time", None, None]
    assert [seen(slow, 0.1, 0.1, 0.1, 0.1, at=200), seen(slow, 0.1, 0.1, 0.1, 0.3, at=210)] == [None, None]


def test_a_moment_a_small_difference_and_one_worker_alone_name_nobody() -> None:
    slow = SlowWorkers()
    times = [(0.1, 0.1, 0.9), (0.1, 0.1, 0.1), (0.1, 0.1, 0.9), (0.1, 0.1, 0.14)] * 3
    assert {seen(slow, *one, at=100 + 10 * place) for place, one in enumerate(times)} == {None}
    assert {seen(SlowWorkers(), 5.0, at=10.0 * place) for place in range(5)} == {None}


def test_what_a_lost_group_has_left_is_not_compared_with() -> None:
    slow = SlowWorkers()
    seen(slow, 0.01, 0.01, 0.01, 0.01, at=0)
    assert {seen(slow, 0.1, 0.1, at=100 + 10 * place) for place in range(4)} == {None}


def test_the_follower_reads_each_sample_once(tmp_path: Path) -> None:
    job = TrainJob.model_construct(run_name="digits-1", folder=tmp_path, storage=None)
    report_sample(job, sample(0, 0.1, at=40.0))  # of an earlier attempt
    samples = Samples(tmp_path)
    assert samples.new() == []
    for rank in (1, 0):
        report_sample(job, sample(rank, 0.1 + rank, at=60.0))
    (tmp_path / "worker-9.json").write_text("{")
    assert [(one.rank, one.figures["compute_seconds"]) for one in samples.new()] == [(0, 0.1), (1, 1.1)]
    assert samples.new() == []
    assert parse_event(b'{"kind": "resumed", "step": 5}').step == 5


def test_the_dashboard_shows_metrics_that_there_are_and_leaves_none_out(repository: Path) -> None:
    text = (repository / "infra" / "grafana" / "training.json").read_text(encoding="utf-8")
    dashboard = json.loads(text)
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    shown = {name for name in (*OF_WORKER, *OF_TRAINING) if any(f"ray_{PREFIX}{name}{{" in one for one in queries)}
    assert shown == {*OF_WORKER, *OF_TRAINING}
    assert all(f"ray_{PREFIX}" in one for one in queries)
