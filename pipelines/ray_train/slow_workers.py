"""Which worker makes the others wait: all steps take as long as the slowest worker's."""

from collections.abc import Sequence
from statistics import median

from headrace.pipelines.ray_train.training_events import WorkerSample

SLOW_WORKER = "slow_worker"  # the tag of the run, and the key in run.json
SLOW_FACTOR = 1.5
_SAMPLES_IN_A_ROW = 3  # half a minute: the page cache, a neighbour's job or a checkpoint is no slow worker
_FRESH_SECONDS = 60.0  # older ones are of a group that was lost


class SlowWorkers:
    """Compares each worker's own seconds of a step, before it waits for the others, with the median of theirs."""

    def __init__(self) -> None:
        self._newest: dict[int, tuple[float, WorkerSample]] = {}  # and when it came, by the follower's clock
        self._in_a_row: dict[int, int] = {}
        self._named: set[int] = set()

    def see(self, samples: Sequence[WorkerSample], *, now_seconds: float) -> str | None:
        """Take in new samples; a sentence where a worker is found to be slow, once for each time that it becomes so."""
        self._newest |= {sample.rank: (now_seconds, sample) for sample in samples}
        seconds = {
            rank: one.figures["compute_seconds"]
            for rank, (came_seconds, one) in self._newest.items()
            if now_seconds - came_seconds <= _FRESH_SECONDS and "compute_seconds" in one.figures
        }
        found = None
        for rank in {sample.rank for sample in samples} & seconds.keys():
            others = [value for other, value in seconds.items() if other != rank]
            factor = seconds[rank] / median(others) if others and median(others) > 0 else 0.0
            if factor < SLOW_FACTOR:
                self._in_a_row[rank] = 0
                self._named.discard(rank)
                continue
            self._in_a_row[rank] = self._in_a_row.get(rank, 0) + 1
            if self._in_a_row[rank] >= _SAMPLES_IN_A_ROW and rank not in self._named:
                self._named.add(rank)
                found = f"worker {rank} on {self._newest[rank][1].host} takes {factor:.1f} times the others' time"
        return found
