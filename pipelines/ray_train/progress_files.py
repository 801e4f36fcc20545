"""What workers report of a training: files of its follower, written by themselves or by a mailbox on its node."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ray
from pydantic import ValidationError

from headrace.components.files.atomic import replace_file
from headrace.pipelines.compatibility.ray_internals import on_this_node
from headrace.pipelines.ray_train.training_events import Event, WorkerSample, parse_event
from headrace.pipelines.ray_train.training_job import PROGRESS, SAMPLE, STOP, Job

MAILBOX_TIMEOUT_SECONDS = 60.0


class Mailbox:
    """An actor on the follower's node: writes there what workers on any node report."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def add_line(self, line: str) -> None:
        """Add a line to the progress file."""
        _add_line(self._folder / PROGRESS, line)

    def write_file(self, name: str, text: str) -> None:
        """Write a file atomically."""
        write_here(self._folder / name, text)

    def is_stopping(self) -> bool:
        """Whether the follower wants the workers to stop."""
        return (self._folder / STOP).exists()


@contextmanager
def mailbox(job: Job) -> Iterator[None]:
    """For the length of the block, write what the job's workers report into its folder on this node, if needed."""
    if not job.mailbox:
        yield
        return
    actor = (
        ray.remote(num_cpus=0, label_selector=on_this_node())(Mailbox).options(name=job.mailbox).remote(str(job.folder))
    )
    try:
        yield
    finally:
        ray.kill(actor)


def report_event(job: Job, event: Event) -> None:
    """Report an event; where nobody receives it, training continues: the metrics are in the checkpoints, too."""
    if not job.mailbox:
        add_event(job, event)
        return
    with suppress(ValueError):  # Ray knows no such actor
        ray.get_actor(job.mailbox).add_line.remote(event.model_dump_json())


def add_event(job: Job, event: Event) -> None:
    """Add an event to the progress file, on the node of the training's follower."""
    with suppress(OSError):
        _add_line(job.progress, event.model_dump_json())


def report_sample(job: Job, sample: WorkerSample) -> None:
    """Report a worker's figures, in place of its last ones; nothing waits for it, and nothing fails without it."""
    name, text = f"{SAMPLE}{sample.rank}.json", sample.model_dump_json()
    if not job.mailbox:
        with suppress(OSError):
            write_here(job.folder / name, text)
        return
    with suppress(ValueError):  # Ray knows no such actor
        ray.get_actor(job.mailbox).write_file.remote(name, text)


class Samples:
    """The newest sample of each worker, as they are written into a training's folder; those of before are removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, float] = {}
        for file in folder.glob(f"{SAMPLE}*.json"):  # of an earlier attempt
            file.unlink(missing_ok=True)

    def new(self) -> list[WorkerSample]:
        """Those that were not there before, by rank."""
        found = []
        for file in sorted(self._folder.glob(f"{SAMPLE}*.json")):
            with suppress(OSError, ValidationError):  # just being replaced
                sample = WorkerSample.model_validate_json(file.read_bytes())
                if sample.at_seconds != self._known.get(file.name):  # by the worker's own clock
                    self._known[file.name] = sample.at_seconds
                    found.append(sample)
        return sorted(found, key=lambda one: one.rank)


def write_file(job: Job, file: Path, text: str) -> None:
    """Make one of the job's files hold this text, where its follower reads it."""
    if job.mailbox:
        ray.get(ray.get_actor(job.mailbox).write_file.remote(file.name, text), timeout=MAILBOX_TIMEOUT_SECONDS)
    else:
        write_here(file, text)


def is_stopping(job: Job) -> bool:
    """Whether the follower wants the workers to stop; False while it can't be reached."""
    try:
        mailbox = ray.get_actor(job.mailbox)
        return bool(ray.get(mailbox.is_stopping.remote(), timeout=MAILBOX_TIMEOUT_SECONDS))
    except (ValueError, ray.exceptions.RayError):
        return False


def follow(progress: Path, offset_bytes: int, on_event: Callable[[Event], None]) -> int:
    """Report the lines from an offset on, and return the next one: a line that is still being written waits."""
    if not progress.exists():
        return offset_bytes
    with progress.open("rb") as file:
        file.seek(offset_bytes)
        lines, ended, _ = file.read().rpartition(b"\n")
    for line in filter(None, lines.split(b"\n")):
        event = parse_event(line)
        if event is not None:
            on_event(event)
    return offset_bytes + len(lines) + len(ended)


def _add_line(progress: Path, line: str) -> None:
    """A line starts with a line break, so that one cut short by a full disk does not spoil the next."""
    with progress.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")


def write_here(file: Path, text: str) -> None:
    """Write the text to a file of this node, atomically."""
    with replace_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
