"""`headrace doctor`: what is wrong with this installation and its services, and how to fix it."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.components.redaction import redacted
from headrace.pipelines.paths import ProjectPaths, project_root

if TYPE_CHECKING:
    from headrace.pipelines.commands.diagnosis.checks import Finding

PLAIN_WIDTH = 160  # of the table, where the output is a file or a log
COLORS = {"ok": "green", "warn": "yellow", "wrong": "red"}


def doctor(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Check every node of the cluster at RAY_ADDRESS instead.")
    ] = False,
    disk_bytes: Annotated[
        int | None,
        typer.Option(min=0, help="Free disk of a node, in bytes. Default: twice the largest split, and 5 GiB."),
    ] = None,
) -> None:
    """Check this installation and its services, and say how to fix each problem."""
    project = ProjectPaths(project_root())
    findings = _of_cluster(project, disk_bytes) if cluster else _findings(project)
    for finding in findings:
        _print(finding)
    raise typer.Exit(int(any(finding.state == "wrong" for finding in findings)))


def _of_cluster(project: ProjectPaths, disk_bytes: int | None) -> list["Finding"]:
    """Print the table of all nodes; what was found. From another machine, a job prints both, and this ends here."""
    from rich.console import Console
    from rich.table import Table

    from headrace.pipelines.commands.diagnosis.cluster_findings import COLUMNS, cluster_findings, enough_disk_bytes
    from headrace.pipelines.commands.diagnosis.cluster_job import check_by_job
    from headrace.pipelines.remote_training.remote_train import uses_job_server

    enough_bytes = enough_disk_bytes(project) if disk_bytes is None else disk_bytes
    if uses_job_server():
        raise typer.Exit(check_by_job(project, disk_bytes=enough_bytes))
    rows, findings = cluster_findings(project, disk_bytes=enough_bytes)
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(table, highlight=False)
    return findings


def _findings(project: ProjectPaths) -> list["Finding"]:
    from headrace.pipelines.commands.diagnosis import checks, exposure

    chosen = (
        checks.versions,
        checks.disk,
        checks.limits,
        checks.git,
        checks.remote,
        checks.mlflow,
        checks.ray,
        checks.mirror,
        checks.storage,
        checks.network,
        exposure.sockets,
        exposure.cluster,
        exposure.credentials,
        exposure.permissions,
    )
    # In parallel, because each of them may wait for a server that is away.
    with ThreadPoolExecutor(len(chosen)) as threads:
        return [finding for found in threads.map(lambda check: list(check(project)), chosen) for finding in found]


def _print(finding: "Finding") -> None:
    colored = False if os.environ.get("NO_COLOR") else None  # None: only on a terminal
    typer.echo(
        f"{typer.style(f'{finding.state:<5}', fg=COLORS[finding.state])}  {redacted(finding.what)}", color=colored
    )
    if finding.state != "ok" and finding.fix:
        typer.echo(f"       fix: {redacted(finding.fix)}")
