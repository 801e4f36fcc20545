"""`headrace doctor`: what is wrong with this installation and its services, and how to fix it."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import typer

from headrace.components.redaction import redacted
from headrace.pipelines.paths import ProjectPaths, project_root

if TYPE_CHECKING:
    from headrace.pipelines.commands.diagnosis.checks import Finding

COLORS = {"ok": "green", "warn": "yellow", "wrong": "red"}


def doctor() -> None:
    """Check this installation and its services, and say how to fix each problem."""
    findings = _findings(ProjectPaths(project_root()))
    for finding in findings:
        _print(finding)
    raise typer.Exit(int(any(finding.state == "wrong" for finding in findings)))


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
