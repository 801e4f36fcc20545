"""The artifact tree. No other module spells a path below the project's root."""

from dataclasses import dataclass
from pathlib import Path

from headrace.components.errors import ParamsError


def project_root(start: Path | None = None) -> Path:
    """The nearest folder with a params.yaml, from `start` (default: the working directory) upwards.

    Raises ParamsError where there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file():
            return folder
    raise ParamsError(f"no params.yaml in {start} or above it; `headrace init` makes a project")


@dataclass(frozen=True)
class PipelinePaths:
    """Where one pipeline's artifacts are; see docs/architecture.md for what each holds."""

    root: Path
    pipeline: str

    @property
    def raw(self) -> Path:
        """Files as fetched, checksums verified."""
        return self.root / "data" / self.pipeline / "raw"

    @property
    def examples(self) -> Path:
        """Typed examples, one row each: example_id, the features, the label, given_split where the source has one."""
        return self.root / "data" / self.pipeline / "examples"

    @property
    def rejected(self) -> Path:
        """Rows of the source that do not fit the schema, and why."""
        return self.root / "data" / self.pipeline / "rejected.parquet"

    @property
    def refused(self) -> Path:
        """Files and rows that ingest refused, kept for inspection; not versioned."""
        return self.root / ".headrace" / "refused" / self.pipeline

    @property
    def weights(self) -> Path:
        """Weights of networks that were trained elsewhere, fetched once for all pipelines; not versioned."""
        return self.root / ".headrace" / "weights"

    @property
    def lock(self) -> Path:
        """Held by any process that writes below data/<pipeline>; not versioned."""
        return self.root / ".headrace" / "locks" / self.pipeline

    @property
    def repro_lock(self) -> Path:
        """Held by the process that runs the pipeline through DVC; not versioned."""
        return self.root / ".headrace" / "repro" / self.pipeline

    @property
    def up_to_date(self) -> Path:
        """What was there when the pipeline was last seen to be up to date; not versioned."""
        return self.root / ".headrace" / "up_to_date" / f"{self.pipeline}.json"

    @property
    def runs(self) -> Path:
        """Sorted runs of examples, from which ingest makes the table; not versioned."""
        return self.root / ".headrace" / "ingest" / self.pipeline

    @property
    def provenance(self) -> Path:
        """Records of what each stage ran on, by what it wrote; not versioned, because equal outputs have several."""
        return self.root / ".headrace" / "provenance" / self.pipeline

    @property
    def ingest_metrics(self) -> Path:
        """Counts of rows read, kept and rejected."""
        return self.root / "reports" / self.pipeline / "ingest.json"

    @property
    def profile(self) -> Path:
        """The examples' profile, and their drift from the version before."""
        return self.root / "reports" / self.pipeline / "profile.json"

    @property
    def normalized(self) -> Path:
        """Examples with transformed features and the label as a number, and statistics.json."""
        return self.root / "data" / self.pipeline / "normalized"

    @property
    def statistics(self) -> Path:
        """Parameters of the fitted transforms (from training rows only)."""
        return self.normalized / "statistics.json"

    @property
    def splits(self) -> Path:
        """Three folders, train, validation and test, and manifest.json."""
        return self.root / "data" / self.pipeline / "splits"

    @property
    def manifest(self) -> Path:
        """Counts, class balance and content digest of every split."""
        return self.splits / "manifest.json"

    @property
    def model(self) -> Path:
        """The best model, normalization inside: takes raw features."""
        return self.root / "models" / self.pipeline / "model.keras"

    @property
    def checkpoint(self) -> Path:
        """The last full training state."""
        return self.root / "models" / self.pipeline / "checkpoint"

    @property
    def checkpoints(self) -> Path:
        """The training states that were kept, a folder by step each."""
        return self.root / "models" / self.pipeline / "checkpoints"

    @property
    def export(self) -> Path:
        """The model in other forms, as `headrace export` writes them; not versioned."""
        return self.root / "models" / self.pipeline / "export"

    @property
    def run(self) -> Path:
        """The model's provenance: its MLflow run, Ray job, data digest and git commit."""
        return self.root / "models" / self.pipeline / "run.json"

    @property
    def tensorboard(self) -> Path:
        """Event files for TensorBoard."""
        return self.root / "models" / self.pipeline / "tensorboard"

    @property
    def reports(self) -> Path:
        """All that users read."""
        return self.root / "reports" / self.pipeline

    @property
    def history(self) -> Path:
        """Loss and metrics by epoch (CSV)."""
        return self.reports / "history.csv"

    @property
    def metrics(self) -> Path:
        """Loss and metrics on the test split."""
        return self.reports / "metrics.json"

    @property
    def outcomes(self) -> Path:
        """What the model predicted of each row that it was measured on, and how far off that was."""
        return self.reports / "outcomes.parquet"

    @property
    def plots(self) -> Path:
        """Figures (PNG), and curves as tables (CSV), for `dvc plots` and MLflow."""
        return self.reports / "plots"

    @property
    def report(self) -> Path:
        """One self-contained page."""
        return self.reports / "report.html"

    @property
    def dvc_view(self) -> Path:
        """What `dvc metrics` and `dvc plots` show of the pipeline: a dvc.yaml without stages."""
        return self.reports / "dvc.yaml"

    @property
    def decision(self) -> Path:
        """The report with the decision of register in front."""
        return self.reports / "decision.html"

    @property
    def monitoring(self) -> Path:
        """What `headrace monitor` found last, as JSON and as a page; not versioned."""
        return self.reports / "monitoring"

    @property
    def registration(self) -> Path:
        """The decision of register, with its reason."""
        return self.reports / "registration.json"


@dataclass(frozen=True)
class ProjectPaths:
    """Where a project's own files are."""

    root: Path

    @property
    def params(self) -> Path:
        """Every number that a user may change."""
        return self.root / "params.yaml"

    @property
    def lock(self) -> Path:
        """Versions of numerics and packages that decide the outputs of each stage."""
        return self.root / "headrace.lock"

    @property
    def dvc(self) -> Path:
        """The stage graph."""
        return self.root / "dvc.yaml"

    @property
    def dvc_lock(self) -> Path:
        """Inputs and outputs of each stage's last run, by digest."""
        return self.root / "dvc.lock"

    @property
    def state(self) -> Path:
        """Headrace's own files, never versioned: Ray storage, locks, timings."""
        return self.root / ".headrace"

    @property
    def code_digests(self) -> Path:
        """Digests of the project's own code by pipeline and stage, which DVC reads as parameters."""
        return self.state / "code.json"

    @property
    def trained_code(self) -> Path:
        """Own code that was trained here, by digest: models that hold it may be loaded."""
        return self.state / "trained_code"

    @property
    def ray_storage(self) -> Path:
        """Checkpoints in flight, one folder per run name."""
        return self.state / "ray"

    @property
    def dvc_config(self) -> Path:
        """DVC's settings of the project."""
        return self.root / ".dvc" / "config"

    @property
    def dvc_private_config(self) -> Path:
        """DVC's settings of this clone alone, never versioned; passwords of remotes are here."""
        return self.root / ".dvc" / "config.local"

    @property
    def dvc_site_cache(self) -> Path:
        """DVC's notes on files that it has hashed; `core.site_cache_dir` in .dvc/config is the same."""
        return self.state / "dvc"

    @property
    def workspaces(self) -> Path:
        """Workspaces of this project's DAG runs, each a clone of its own."""
        return self.state / "workspaces"

    @property
    def handoff(self) -> Path:
        """The handoff that a training in a Ray job receives from its submitter."""
        return self.state / "handoff.json"

    @property
    def training_runs(self) -> Path:
        """Records of what to log to MLflow, one for each training of this clone."""
        return self.state / "runs"

    @property
    def alias_journal(self) -> Path:
        """Moves of aliases of registered models, one line each."""
        return self.state / "aliases.jsonl"

    @property
    def prediction_journal(self) -> Path:
        """Files of predictions, a line each: which version made them, of which input."""
        return self.state / "predictions.jsonl"

    @property
    def reproductions(self) -> Path:
        """Workspaces in which versions are made again."""
        return self.state / "reproductions"

    @property
    def requirements(self) -> Path:
        """Hashes of all packages, where the project pins them."""
        return self.root / "requirements.lock"

    @property
    def downloaded_models(self) -> Path:
        """Registered models that are kept elsewhere, fetched once."""
        return self.state / "models"

    @property
    def measuring(self) -> Path:
        """The folder where `headrace results` runs a pipeline, apart from the project's own data and models."""
        return self.state / "measuring"

    @property
    def results(self) -> Path:
        """Results that `headrace results` has measured: a file for each pipeline."""
        return self.root / "docs" / "results"

    @property
    def results_page(self) -> Path:
        """The results as one page."""
        return self.root / "docs" / "results.md"

    @property
    def mlflow_database(self) -> Path:
        """MLflow's SQLite file, where MLFLOW_TRACKING_URI is not set."""
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """MLflow's artifacts, where MLFLOW_TRACKING_URI is not set."""
        return self.root / "mlartifacts"

    @property
    def champions(self) -> Path:
        """The champions as the project's own registry was seen to have them; not versioned."""
        return self.root / ".headrace" / "champions.json"

    def of(self, pipeline: str) -> PipelinePaths:
        """The artifact tree of one pipeline."""
        return PipelinePaths(self.root, pipeline)
