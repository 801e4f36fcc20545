"""What a training's workers are told, and where they leave what they make."""

from pathlib import Path

from components.settings import Settings
from pipelines.params import Train


class TrainJob(Settings):
    """One training. Paths must mean the same on every node."""

    run_name: str
    folder: Path
    splits: Path
    statistics: Path
    train: Train

    @property
    def checkpoints(self) -> Path:
        """Checkpoints in flight."""
        return self.folder / "checkpoints"

    @property
    def progress(self) -> Path:
        """One JSON line per epoch, written by worker 0."""
        return self.folder / "progress.jsonl"

    @property
    def failure(self) -> Path:
        """What the first worker that failed for a reason of its own says: trying again would end the same way."""
        return self.folder / "failure.json"

    @property
    def results(self) -> Path:
        """What worker 0 leaves when all epochs are done; appears whole."""
        return self.folder / "results"
