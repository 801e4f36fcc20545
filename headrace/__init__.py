"""Raw data to trained, compared and registered Keras 3 models.

The names of `__all__` are public and follow semantic versioning: docs/api.md. All else is private and may change in any
release. Each name is imported when it is first used: `import headrace` loads neither TensorFlow nor Airflow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.components.errors import DataError, ParamsError, ServiceError, TrainingError, UserError
    from headrace.components.serving_model.saved_model import load_model
    from headrace.components.training.workers.gather_batch import gather_batch
    from headrace.pipelines.airflow.dags import project_dags
    from headrace.pipelines.airflow.ray_job import RayJobOperator
    from headrace.pipelines.fit.program import FitResult, fit
    from headrace.pipelines.fit.ray_function import train_function
    from headrace.pipelines.params import Pipeline, load_pipeline
    from headrace.pipelines.paths import PipelinePaths, project_root
    from headrace.pipelines.ray_train.backend import TensorflowBackendConfig
    from headrace.pipelines.stages.evaluate import evaluate
    from headrace.pipelines.stages.ingest import ingest
    from headrace.pipelines.stages.normalize import normalize
    from headrace.pipelines.stages.register import register
    from headrace.pipelines.stages.split import split
    from headrace.pipelines.stages.train import train
    from headrace.pipelines.tracking.registry import model_file

__all__ = [
    "DataError",
    "FitResult",
    "ParamsError",
    "Pipeline",
    "PipelinePaths",
    "RayJobOperator",
    "ServiceError",
    "TensorflowBackendConfig",
    "TrainingError",
    "UserError",
    "evaluate",
    "fit",
    "gather_batch",
    "ingest",
    "load_model",
    "load_pipeline",
    "model_file",
    "normalize",
    "project_dags",
    "project_root",
    "register",
    "split",
    "train",
    "train_function",
]

_MODULES = {
    "components.errors": ("DataError", "ParamsError", "ServiceError", "TrainingError", "UserError"),
    "components.serving_model.saved_model": ("load_model",),
    "components.training.workers.gather_batch": ("gather_batch",),
    "pipelines.airflow.dags": ("project_dags",),
    "pipelines.airflow.ray_job": ("RayJobOperator",),
    "pipelines.fit.program": ("FitResult", "fit"),
    "pipelines.fit.ray_function": ("train_function",),
    "pipelines.params": ("Pipeline", "load_pipeline"),
    "pipelines.paths": ("PipelinePaths", "project_root"),
    "pipelines.tracking.registry": ("model_file",),
    "pipelines.ray_train.backend": ("TensorflowBackendConfig",),
    "pipelines.stages.evaluate": ("evaluate",),
    "pipelines.stages.ingest": ("ingest",),
    "pipelines.stages.normalize": ("normalize",),
    "pipelines.stages.register": ("register",),
    "pipelines.stages.split": ("split",),
    "pipelines.stages.train": ("train",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
