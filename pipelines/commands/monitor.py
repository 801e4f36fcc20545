"""`headrace monitor`: what a registered version meets after deployment."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from headrace.components.errors import ParamsError
from headrace.pipelines.commands.arguments import (
    AliasOption,
    PipelineName,
    existing_path,
    load,
    writable_folder,
)


def monitor(
    pipeline: PipelineName,
    *,
    input_path: Annotated[
        Path,
        typer.Option(
            "--input",
            metavar="FOLDER|FILE",
            help="Predictions of `headrace predict --keep-inputs` or `schedule.predict`.",
            callback=existing_path,
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|FILE", help="Tables with the key and the label, once it is known.", callback=existing_path
        ),
    ] = None,
    alias: AliasOption = "champion",
    since: Annotated[
        str | None, typer.Option(metavar="TIME|DAYSd", help="Only what was predicted from then on, as in 7d.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="By default reports/PIPELINE/monitoring.", callback=writable_folder),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare predictions of a version with its training: drift, and quality once labels come; 3 is an alert."""
    from headrace.pipelines.commands.inference.monitor_predictions import monitor_predictions

    settings, paths = load(pipeline)
    monitor_predictions(
        settings,
        paths,
        input_path=input_path,
        labels_path=labels,
        alias=alias,
        since=None if since is None else _time(since),
        output=output,
        as_json=as_json,
    )


def _time(text: str) -> datetime:
    """A time in UTC, from ISO 8601 or from days before now; raises ParamsError for anything else."""
    if days := re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)d", text, re.ASCII):
        return datetime.now(UTC) - timedelta(days=float(days[1]))
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ParamsError(f"--since {text}: expected a time such as 2026-11-30T12:00, or days such as 7d") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
