"""`headrace tensorboard`: TensorBoard on what a training has written."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from headrace.components.errors import DataError, ParamsError
from headrace.pipelines.commands.arguments import PipelineName, load
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow, quiet
from headrace.pipelines.paths import PipelinePaths

HOST = "127.0.0.1"  # TensorBoard asks nobody for a password


def tensorboard(
    pipeline: PipelineName,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On which port; 0 is any free one.")] = 0,
) -> None:
    """Show a training's metrics, weights, graph and pictures in TensorBoard, on this machine only."""
    start_tensorboard(load(pipeline)[1], port=port)


def start_tensorboard(paths: PipelinePaths, *, port: int) -> None:
    """Show the metrics, weights, graph and pictures of the last training until Ctrl-C; a `port` of 0 is any free one.

    Raises DataError where there is no training to show, ParamsError where the port is taken.
    """
    if not paths.tensorboard.is_dir():
        raise DataError(f"no event files in {paths.tensorboard}; `headrace train {paths.pipeline}` writes them")
    _serve(paths.tensorboard, what=paths.pipeline, port=port)


def _serve(folder: Path, *, what: str, port: int) -> None:
    """TensorBoard in this process, so that none outlives this one, however it ends."""
    _require_free(port)
    import_tensorflow()  # TensorBoard reads with it, and would greet with lines of its own
    from tensorboard import program

    board = program.TensorBoard()
    board.configure(argv=[None, "--logdir", str(folder), "--host", HOST, "--port", str(port)])
    with _until_asked_to_end():
        with quiet():
            address = board.launch()
        typer.echo(f"{what}: TensorBoard at {address}; Ctrl-C ends it")
        while True:
            signal.pause()


def _require_free(port: int) -> None:
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise ParamsError(f"--port {port}: {error.strerror}; leave --port out for a free one") from error


@contextmanager
def _until_asked_to_end() -> Iterator[None]:
    """End the block, quietly, at Ctrl-C or SIGTERM."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("TensorBoard has ended")
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(signal_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(f"signal {signal_number}")
