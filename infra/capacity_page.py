"""docs/capacity.md: what breaks first as workers, pipelines and data grow, from measured constants.

`python -m infra.capacity_page`, a part of `make pages`. Nothing on that page was run at its size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

PAGE = Path(__file__).resolve().parents[1] / "docs" / "capacity.md"

GIB, TB = 1 << 30, 10**12

# Measured on two shared x86-64 cores, Python 3.11, 2026-11-30, beside other work; processor seconds where it says so.
HOP_SECONDS = 25e-6  # of the ring, for a message of any size: processor time of one worker, 2 to 4 workers on loopback
BYTE_SECONDS = 0.36e-9  # of the ring, for a byte that is sent, received and added: processor time
JOB_SECONDS = 19.7  # of a two-worker job of one step, an idle machine: imports, Ray Train's group, results
LEAVE_SECONDS = 2.4  # from the notice of a node's drain to the last checkpoint
DAG_IMPORT_SECONDS, DAG_SECONDS = 1.5, 4.8e-3  # of Airflow's parser: imports, and each pipeline; processor time
TASK_PARSE_SECONDS = 0.23e-3  # of a task's own parse, for each pipeline of params.yaml; processor time
LIST_SECONDS, LISTED_SECONDS = 0.7, 3.7e-3  # of `headrace list`, and each pipeline; processor time
STATUS_SECONDS, STATUS_OF_EACH_SECONDS = 0.5, 2.7e-3  # of `dvc status` of one stage, and each pipeline; processor time
INGEST_BYTES_A_SECOND = (
    100_000_000 * 12 * 8 / 172
)  # ingest, normalize and split of 100 M rows of 12 numbers on two cores
MD5_BYTES_A_SECOND = 0.68e9  # DVC's digest; processor time
MLFLOW_BYTES, HEAD_BYTES, DRIVER_BYTES = 1.8 * GIB, 2.1 * GIB, 0.4 * GIB

# Assumed: the network of one zone of a cloud, and how steady its machines are.
BANDWIDTH_BYTES_A_SECOND = 1.25e9  # 10 Gbit/s
LATENCY_SECONDS = 100e-6  # mean of an exponential distribution
STEP_SPREAD = 0.05  # standard deviation of the logarithm of a worker's own seconds of a step
NOTICES_AN_HOUR = 0.05  # spot machines that are taken away
DAGBAG_TIMEOUT_SECONDS = 30.0  # Airflow's default


@dataclass(frozen=True)
class Model:
    """A model that was trained here: its parameters, and the seconds of a step of one worker."""

    name: str
    parameters: int
    step_seconds: float


MODELS = (
    Model("CNN of MNIST, batches of 100 a worker", 3_300_000, 0.032),
    Model("two wide layers, Adam", 25_000_000, 0.30),
    Model("two wide layers, Adam", 100_000_000, 0.75),
)
WORKERS = (2, 8, 16, 64, 256)


def step_seconds(model: Model, workers: int, *, steps: int = 40, seed: int = 0) -> float:
    """Mean seconds of a step of a group with as much work for each worker, from a simulation of its ring.

    Each worker computes for a lognormal time. Then come 2 (W - 1) rounds, in which each sends a W-th of the gradients
    to the next, and waits for what the one before it has sent.
    """
    random = np.random.default_rng([seed, workers])
    part_bytes = 4 * model.parameters / workers
    busy = HOP_SECONDS + part_bytes * BYTE_SECONDS
    total = 0.0
    for _ in range(steps):
        ready = model.step_seconds * np.exp(random.normal(0, STEP_SPREAD, workers))
        for _ in range(2 * (workers - 1)):
            sent = ready + random.exponential(LATENCY_SECONDS, workers) + part_bytes / BANDWIDTH_BYTES_A_SECOND
            ready = np.maximum(ready, np.roll(sent, 1)) + busy
        total += float(ready.max())
    return total / steps


def efficiency(model: Model, workers: int) -> float:
    """The share of a step that is not spent on the other workers."""
    return model.step_seconds / step_seconds(model, workers)


def _exchange_share(model: Model, workers: int) -> float:
    return 1 - efficiency(model, workers)


def lost_share(workers: int, *, redone_seconds: float = 0.0) -> float:
    """The share of the time that spot nodes of one worker each cost, of which each may be taken away."""
    lost_of_a_second = workers * NOTICES_AN_HOUR / 3600 * (LEAVE_SECONDS + JOB_SECONDS + redone_seconds)
    return lost_of_a_second / (1 + lost_of_a_second)


def first_above(limit: float, cost: Callable[[int], float]) -> int:
    """The smallest power of two, up to 2^20, for which `cost` exceeds the limit."""
    return next((size for size in (1 << power for power in range(21)) if cost(size) > limit), 1 << 20)


def page() -> str:
    """The page as Markdown."""
    return _TEXT.format(
        ring=_ring(),
        breaks="".join(f"| {' | '.join(row)} |\n" for row in _breaks()),
        notices=_notices(),
        pipelines=_pipelines(),
        data=_data(),
        hop=f"{HOP_SECONDS * 1e6:g}",
        byte=f"{BYTE_SECONDS * 1e9:g}",
        latency=f"{LATENCY_SECONDS * 1e3:g}",
        spread=f"{STEP_SPREAD:.0%}",
        spot=f"{NOTICES_AN_HOUR:.0%}",
        job=f"{JOB_SECONDS:g}",
        leave=f"{LEAVE_SECONDS:g}",
        ingest=f"{INGEST_BYTES_A_SECOND / 1e6:.0f}",
        dag=f"{DAG_SECONDS * 1e3:g}",
        imports=f"{DAG_IMPORT_SECONDS:g}",
    )


def _ring() -> str:
    rows = []
    for model in MODELS:
        cells = [f"{efficiency(model, workers):.0%}" for workers in WORKERS]
        what = f"{model.name}: {model.parameters / 1e6:g} M parameters, {model.step_seconds * 1e3:g} ms a step"
        rows.append(f"| {what} | {' | '.join(cells)} |\n")
    head = " | ".join(f"{workers} workers" for workers in WORKERS)
    return f"| a model, and one worker's own step | {head} |\n|---|{'---|' * len(WORKERS)}\n{''.join(rows)}"


def _notices() -> str:
    sizes = (8, 64, 256)
    rows = (
        ("with a notice that is heard: nothing is made again", 0.0),
        ("without one, a checkpoint every minute", 30.0),
        ("without one, a checkpoint every 20 minutes", 600.0),
    )
    lines = [
        f"| {name} | {' | '.join(f'{lost_share(size, redone_seconds=seconds):.1%}' for size in sizes)} |\n"
        for name, seconds in rows
    ]
    return f"| | {' | '.join(f'{size} nodes' for size in sizes)} |\n|---|{'---|' * len(sizes)}\n{''.join(lines)}"


def _pipelines() -> str:
    sizes = (18, 100, 1_000, 10_000)
    costs: tuple[tuple[str, Callable[[int], float]], ...] = (
        ("Airflow parses all DAGs", lambda size: DAG_IMPORT_SECONDS + DAG_SECONDS * size),
        ("a task parses its own", lambda size: DAG_IMPORT_SECONDS + TASK_PARSE_SECONDS * size),
        ("`headrace list`", lambda size: LIST_SECONDS + LISTED_SECONDS * size),
        ("`dvc status` of one stage", lambda size: STATUS_SECONDS + STATUS_OF_EACH_SECONDS * size),
    )
    lines = [f"| {name} | {' | '.join(f'{cost(size):.1f}' for size in sizes)} |\n" for name, cost in costs]
    return f"| | {' | '.join(f'{size:,}' for size in sizes)} |\n|---|{'---|' * len(sizes)}\n{''.join(lines)}"


def _data() -> str:
    sizes = (10**10, 10**12, 10**13)
    nodes = 64
    costs: tuple[tuple[str, Callable[[int], float]], ...] = (
        ("ingest, normalize, split on one machine of two cores", lambda size: size / INGEST_BYTES_A_SECOND),
        ("DVC's digests of it, one core", lambda size: size / MD5_BYTES_A_SECOND),
        (f"fetched whole by each of {nodes} nodes", lambda size: size / BANDWIDTH_BYTES_A_SECOND),
        (f"each of {nodes} nodes its share", lambda size: size / nodes / BANDWIDTH_BYTES_A_SECOND),
    )
    lines = [f"| {name} | {' | '.join(_duration(cost(size)) for size in sizes)} |\n" for name, cost in costs]
    return f"| | {' | '.join(_size(size) for size in sizes)} |\n|---|{'---|' * len(sizes)}\n{''.join(lines)}"


def _breaks() -> list[tuple[str, str, str, str]]:
    """What breaks, when it does, at which size, and what to do."""
    small, middle, large = MODELS
    half = [first_above(0.5, partial(_exchange_share, model)) for model in MODELS[:2]]
    spot = first_above(0.1, lost_share)
    redone = first_above(0.1, lambda nodes: lost_share(nodes, redone_seconds=600))
    dags = int((DAGBAG_TIMEOUT_SECONDS - DAG_IMPORT_SECONDS) / DAG_SECONDS)
    day_bytes = INGEST_BYTES_A_SECOND * 86_400
    memory = int((4 * GIB - HEAD_BYTES) / DRIVER_BYTES) + 1
    return [
        (
            "the ring",
            f"half of a step is exchange, {small.name}",
            f"{half[0]} workers",
            "a larger batch for each worker; `gradient_compression`; GPUs, where NCCL takes its place",
        ),
        (
            "the ring",
            f"the same, {middle.parameters / 1e6:g} M parameters; at {large.parameters / 1e6:g} M from 2 on "
            f"{1 - efficiency(large, 2):.0%} is exchange",
            f"{half[1]} workers",
            "the same: these steps are short for their weights",
        ),
        ("spot nodes", "a tenth of the time is lost, with notices", f"{spot} nodes", "some nodes that stay"),
        (
            "spot nodes",
            "the same without notices, a checkpoint every 20 minutes",
            f"{redone} nodes",
            "`train.checkpoints.every_steps`",
        ),
        (
            "data steps",
            "a day on one machine of two cores",
            _size(day_bytes),
            "more cores, the data stages on Ray, partitions by day",
        ),
        (
            "Airflow",
            f"{DAGBAG_TIMEOUT_SECONDS:g} s to parse one DAG file",
            f"{dags:,} pipelines",
            "a repository for each team; `[core] dagbag_import_timeout`",
        ),
        (
            "Ray's head of 4 GiB",
            "drivers of jobs at once",
            f"{memory} jobs",
            "`train.driver: {cores: 0.5}` puts them on other nodes",
        ),
    ]


def _size(size_bytes: float) -> str:
    return f"{size_bytes / TB:.3g} TB" if size_bytes >= TB else f"{size_bytes / 1e9:.3g} GB"


def _duration(seconds: float) -> str:
    for limit, unit_seconds, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_seconds:.3g} {unit}"
    return f"{seconds / 86_400:.3g} days"


_TEXT = """\
# How far it goes

Made by `python -m infra.capacity_page` from constants that were measured on two shared cores (2026-11-30) and a few
that are assumed. **Nothing on this page was run at its size.** It says what to look at first, not what you will see:
put your own constants into `infra/capacity_page.py`, and run it.

## What breaks first

| part | what happens | at | what helps |
|---|---|---|---|
{breaks}
## Workers

The share of a step that is a worker's own work, where each worker has as large a part of the batch at any size.
Simulated: each worker computes for a time that varies by {spread}; then {hop} us and {byte} ns a byte of the
processor for each of the 2 (W - 1) messages of the ring, over links of 10 Gbit/s and {latency} ms.

{ring}
The ring sends the fewest bytes that there can be, and its latency grows with the workers. So small models on many
workers wait for messages, and large ones on few wait for bytes. A step that computes ten times as long, with a larger
batch, hides both.

A job of one step takes {job} s, most of it imports, on each node at the same time; images are pulled before that.

## Nodes that are taken away

Each costs {leave} s to leave, {job} s to start again, and the steps since the last checkpoint where there was no
notice. Of spot machines, {spot} an hour, the share of the time that is lost:

{notices}
## Pipelines

Processor seconds, all pipelines in one params.yaml. Airflow's imports take {imports} s, each pipeline {dag} ms:

{pipelines}
## Data

The data stages take {ingest} MB a second on two cores, of tables of numbers. Each node fetches its share of a split
where it is larger than its cache, and all of it otherwise:

{data}
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
