"""What is left of writing a checkpoint when its arrays are in files: done by a thread, beside the steps that follow."""

import threading
from collections.abc import Callable
from typing import Self


class CheckpointWriter:
    """Finishes one checkpoint at a time; at the end of its block the last one is done.

    What finishing raises is raised where the training waits for it next.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, finish: Callable[[], None]) -> None:
        """Begin to finish a checkpoint; to be called when nothing is being finished."""
        self._thread = threading.Thread(target=self._run, args=(finish,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is being finished; raise what that has raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def __enter__(self) -> Self:
        """Nothing is being finished yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait, also where training has failed: it continues from a checkpoint that is almost there."""
        self.wait()

    def _run(self, finish: Callable[[], None]) -> None:
        try:
            finish()
        except BaseException as error:  # noqa: BLE001 - the training raises it
            self._error = error
