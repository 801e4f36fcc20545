"""Processor time of a worker's figures: of one report, to Ray and to a file, and of the clock around each step.

python bench/worker_figures.py
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import ray

from headrace.components.training.workers.step_watch import StepWatch
from headrace.pipelines.ray_train.progress_files import report_sample
from headrace.pipelines.ray_train.training_job import TrainJob
from headrace.pipelines.ray_train.worker_figures import INTERVAL_SECONDS, WorkerFigures

REPORTS, STEPS = 500, 100_000


def main() -> None:
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    watch = StepWatch(examples_per_step=50, interval_seconds=0)
    figures = WorkerFigures(0, run="bench")
    with tempfile.TemporaryDirectory() as folder:
        job = TrainJob.model_construct(run_name="bench", folder=Path(folder), mailbox=None)
        report(job, figures, watch, count=20)  # makes the gauges
        started_seconds = time.process_time()
        report(job, figures, watch, count=REPORTS)
        seconds = (time.process_time() - started_seconds) / REPORTS
    print(
        f"a report: {seconds * 1e3:.2f} ms, {seconds / INTERVAL_SECONDS:.4%} of a core every {INTERVAL_SECONDS:.0f} s"
    )
    started_seconds = time.process_time()
    for _ in range(STEPS):
        watch.begin_step()
        watch.end_step()
        watch.is_due()
    print(f"a step: {(time.process_time() - started_seconds) / STEPS * 1e6:.2f} µs")


def report(job: TrainJob, figures: WorkerFigures, watch: StepWatch, *, count: int) -> None:
    """What a worker does each time that its figures are due, after a step."""
    for number in range(count):
        watch.begin_step()
        watch.end_step()
        measured = watch.read(np.full(4, number + 1.0))
        report_sample(job, figures.sample({"step": float(number), **measured}, num_workers=1))


if __name__ == "__main__":
    main()
