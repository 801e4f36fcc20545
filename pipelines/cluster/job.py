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
    start_weights: Path | None = None

    @property
    def checkpoints(self) -> Path:
        """Checkpoints in flight."""
        return self.folder / "checkpoints"

    @property
    def progress(self) -> Path:
        """What happens, one JSON line each, written by worker 0."""
        return self.folder / "progress.jsonl"

    @property
    def failure(self) -> Path:
        """What the first worker that failed for a reason of its own says: trying again would end the same way."""
        return self.folder / "failure.json"

    @property
    def preempted(self) -> Path:
        """Left by workers that were asked to leave and did, after a checkpoint: a new group goes on from there."""
        return self.folder / "preempted"

    @property
    def results(self) -> Path:
        """What worker 0 leaves when all epochs are done; appears whole."""
        return self.folder / "results"
