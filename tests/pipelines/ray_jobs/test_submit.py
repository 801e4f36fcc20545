"""Which job trains: one for each training, for all callers and however often they call."""

import asyncio
from typing import Any

from headrace.pipelines.ray_jobs.jobs import Job
from headrace.pipelines.ray_jobs.submit import OWNER, RUN_NAME, Submission, Submitted, job_id, submit_or_join

NAME, ADDRESS = "digits-0123456789ab", "http://127.0.0.1:8265"


class Jobs:
    """A job server that holds jobs in memory; `arrives` is another owner's job that is there after the first list."""

    def __init__(self, *present: Job, arrives: Job | None = None) -> None:
        self.jobs, self.arrives = {job.submission_id: job for job in present}, arrives
        self.submitted: list[str] = []
        self.stopped: list[str] = []

    async def list(self) -> list[Job]:
        found = list(self.jobs.values())
        if self.arrives:
            self.jobs[self.arrives.submission_id] = self.arrives
        return found

    async def find(self, submission_id: str) -> Job | None:
        return self.jobs.get(submission_id)

    async def ship(self, archive: bytes) -> str:
        return "gcs://package.zip"

    async def submit(self, *, submission_id: str, metadata: Any, **_: Any) -> bool:
        self.submitted.append(submission_id)
        self.jobs[submission_id] = job("PENDING", submission_id, owner=metadata[OWNER], start_seconds=100.0)
        return True

    async def stop(self, submission_id: str, *, grace_seconds: float) -> None:
        self.stopped.append(submission_id)


def job(status: str, submission_id: str, *, owner: str = "hand", name: str = NAME, start_seconds: float = 1.0) -> Job:
    return Job(submission_id, status, "", "", {RUN_NAME: name, OWNER: owner}, start_seconds, None, None)


def submitted_to(jobs: Jobs, *, owner: str = "hand", has_results: bool = True) -> Submitted:
    return asyncio.run(
        submit_or_join(
            jobs,
            lambda: Submission(b"", "true", {}),
            address=ADDRESS,
            run_name=NAME,
            owner=owner,
            has_results=lambda: has_results,
        )
    )


def test_a_training_that_is_under_way_or_has_left_results_is_joined():
    first = job_id(NAME, owner="hand", generation=1)
    for status in ("PENDING", "RUNNING", "SUCCEEDED"):
        jobs = Jobs(job(status, first))
        assert submitted_to(jobs) == Submitted(submission_id=first, address=ADDRESS, is_ours=True)
        assert jobs.submitted == []


def test_one_that_ended_without_results_has_a_next_job():
    first, second, third = (job_id(NAME, owner="hand", generation=generation) for generation in (1, 2, 3))
    for status in ("FAILED", "STOPPED", "SUCCEEDED"):
        jobs = Jobs(job(status, first), job("FAILED", second))
        assert submitted_to(jobs, has_results=False).submission_id == third
        assert jobs.submitted == [third]


def test_the_job_of_another_owner_is_joined_while_it_lives_and_never_called_ours():
    others = job_id(NAME, owner="airflow", generation=1)
    living = Jobs(job("RUNNING", others, owner="airflow"))
    assert submitted_to(living) == Submitted(submission_id=others, address=ADDRESS, is_ours=False)
    own = job_id(NAME, owner="hand", generation=1)
    for jobs in (Jobs(job("FAILED", others, owner="airflow")), Jobs(job("RUNNING", others, owner="airflow", name="x"))):
        assert submitted_to(jobs) == Submitted(submission_id=own, address=ADDRESS, is_ours=True)
        assert jobs.submitted == [own]


def test_of_two_owners_who_submit_concurrently_the_later_gives_way():
    own, others = (job_id(NAME, owner=owner, generation=1) for owner in ("hand", "airflow"))
    for start_seconds, expected, stopped in ((99.0, others, [own]), (101.0, own, [])):
        jobs = Jobs(arrives=job("RUNNING", others, owner="airflow", start_seconds=start_seconds))
        assert submitted_to(jobs).submission_id == expected
        assert jobs.stopped == stopped


def test_a_job_keeps_the_name_by_which_it_is_found_again():
    """A cluster has jobs of these names: another spelling would train again what already trains."""
    assert job_id("digits-0123456789ab", owner="hand", generation=2) == "digits-0123456789ab-1b001706-2"
