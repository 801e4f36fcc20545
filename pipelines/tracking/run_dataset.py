"""A data set as an input of an MLflow run, as its page shows it."""

from typing import TYPE_CHECKING

from headrace.components.redaction import redacted
from headrace.components.schema.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


class RunDataset(Settings):
    """Name, digest and source of a data set; texts are JSON. MLflow takes 36 characters of digest."""

    name: str
    digest: str
    source_type: str
    source: str
    columns: str
    profile: str


def log_dataset(client: "MlflowClient", run_id: str, dataset: RunDataset) -> None:
    """Log the data set as an input of training; MLflow keeps an equal one once."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    entity = Dataset(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=redacted(dataset.source),
        schema=dataset.columns,
        profile=dataset.profile,
    )
    client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])
