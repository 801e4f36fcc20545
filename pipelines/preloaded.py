"""The program that becomes DVC, beside a server that imports for the stages: `python -m headrace.pipelines.preloaded`.

Three rules for what is imported before a fork, each learned from a process that hung or failed: not Polars, which
starts threads; not Ray, which reads its settings once; nothing that makes TensorFlow find devices.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

from headrace.components.compatibility.absent_packages import absent
from headrace.components.compatibility.keras_import import import_keras
from headrace.pipelines.host.fork_server import ForkServer, exec_beside_server

NOT_BEFORE_A_FORK = ("polars", "ray")

_OURS = ("pipelines.__main__", "pipelines.remote_training.run_description", "pipelines.ray_train.training_job")
_OTHERS = ("sklearn.linear_model", "sklearn.ensemble", "matplotlib.figure", "matplotlib.backends.backend_agg", "jinja2")


def main(folder: str, *command: str) -> None:
    """Become `command`, and serve the stages that it starts."""
    exec_beside_server(command)
    server = ForkServer(Path(folder))
    preload()
    request = server.serve()
    sys.argv[:] = request.arguments
    sys.path.insert(0, str(Path(request.arguments[0]).parent))  # as Python does for a program
    import structlog  # here, as all that would keep DVC waiting

    structlog.get_logger().debug("forked from the process that imports for this run", server=os.getppid())
    import_module("headrace.pipelines.__main__").main()


def preload() -> None:
    """Import what evaluate, register and the driver of a training need."""
    with absent(*NOT_BEFORE_A_FORK):  # MLflow, too, imports Polars where it finds it
        for name in _OURS:
            import_module(f"headrace.{name}")
        from headrace.pipelines.compatibility.tensorflow_import import quiet
        from headrace.pipelines.host.logs import configure_logging
        from headrace.pipelines.tracking.server import import_mlflow

        configure_logging()  # before MLflow, which reads what it sets
        import_mlflow()
        with quiet():
            import_keras()  # before what Keras would import, too
        for name in _OTHERS:
            import_module(name)
    import numpy as np

    os.register_at_fork(after_in_child=np.random.seed)  # as `random` does itself


if __name__ == "__main__":
    main(*sys.argv[1:])
