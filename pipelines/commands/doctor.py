"""`headrace doctor`: what is wrong with this installation and its services, and how to fix it."""

import os
from concurrent.futures import ThreadPoolExecutor

import typer

from headrace.components.redaction import redacted
from headrace.pipelines.commands import checks, exposure
from headrace.pipelines.commands.checks import Finding
from headrace.pipelines.paths import ProjectPaths

CHECKS = (
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
COLORS = {"ok": "green", "warn": "yellow", "wrong": "red"}


def doctor(project: ProjectPaths) -> int:
    """Print one line per finding; return 1 if something is wrong, else 0."""
    # In parallel, because each of them may wait for a server that is away.
    with ThreadPoolExecutor(len(CHECKS)) as threads:
        findings = [finding for found in threads.map(lambda check: list(check(project)), CHECKS) for finding in found]
    for finding in findings:
        _print(finding)
    return int(any(finding.state == "wrong" for finding in findings))


def _print(finding: Finding) -> None:
    colored = False if os.environ.get("NO_COLOR") else None  # None: only on a terminal
    typer.echo(
        f"{typer.style(f'{finding.state:<5}', fg=COLORS[finding.state])}  {redacted(finding.what)}", color=colored
    )
    if finding.state != "ok" and finding.fix:
        typer.echo(f"       fix: {redacted(finding.fix)}")
