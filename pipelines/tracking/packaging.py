"""A .keras file as an MLflow model: the Keras 3 flavour, and a Python function that serves raw rows."""

import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from headrace.components.own_code import text_modules
from headrace.components.own_code.importable_code import HUB
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import Label
from headrace.components.serving_model.generate_images import NOISE, normal_noise
from headrace.components.serving_model.hub_classes import uses_hub
from headrace.components.serving_model.keras_file import read_config
from headrace.components.serving_model.model_inputs import model_inputs
from headrace.components.tasks.variants import task_of
from headrace.pipelines.artifacts.artifact import file_digest

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature

MODEL_FILE = "data/model.keras"  # where mlflow.keras.load_model reads it

_SERVING = "headrace_serving"
_TEXT_MODULES = "headrace_text_modules"


def package(
    folder: Path,
    *,
    model: "Model",
    model_file: Path,
    features: Mapping[str, Feature],
    label: Label,
    example: pl.DataFrame,
    noise: int | None = None,
) -> None:
    """Fill `folder` with an MLflow model whose input example is `example`, raw rows with at least these features.

    Of a generator, which takes `noise` numbers, it is noise for as many images as there are rows.
    `mlflow.keras.save_model` is not used. It imports TensorFlow, which takes seconds, and makes a model that can't be
    served where a feature is text. It also writes the file again, so that its digest is no longer the one DVC knows.
    The tests hold the Keras flavour written here equal to the one that it writes.
    """
    from headrace.pipelines.compatibility.mlflow_internals import save_example

    (folder / "data").mkdir(parents=True)
    (folder / "code").mkdir()
    shutil.copyfile(model_file, folder / MODEL_FILE)
    (folder / "data" / "keras_module.txt").write_text("keras", encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("serving.py"), folder / "code" / f"{_SERVING}.py")
    shutil.copyfile(text_modules.__file__, folder / "code" / f"{_TEXT_MODULES}.py")
    (folder / "code" / "model.sha256").write_text(file_digest(folder / MODEL_FILE) + "\n", encoding="utf-8")
    _write_environment(folder, also=(HUB,) if uses_hub(read_config(model_file)) else ())

    model.signature = signature(features=features, label=label, noise=noise)
    classes = task_of(label).classes
    model.metadata = {"classes": list(classes)} if classes else None
    save_example(model, _serving_rows(example, features, noise), str(folder))
    _add_flavors(model)
    model.save(str(folder / "MLmodel"))


def _add_flavors(model: "Model") -> None:
    model.add_flavor(
        "keras", data="data", keras_version=version("keras"), keras_backend="tensorflow", save_exported_model=False
    )
    # As mlflow.pyfunc.add_to_model does, whose import takes another second and warns about MLflow's own code.
    model.add_flavor(
        "python_function",
        loader_module=_SERVING,
        python_version=platform.python_version(),
        data="data",
        code="code",
        env={"virtualenv": "python_env.yaml"},
    )


def signature(*, features: Mapping[str, Feature], label: Label, noise: int | None = None) -> "ModelSignature":
    """Inputs and outputs of the model: a table of raw rows, or for an image float32[-1, height, width, channels].

    It gives float32[-1, classes], float32[-1, numbers], or float32[-1, length, tokens]. A
    generator takes float32[-1, noise] and gives images. With the parameter `with_version` it also says which it is.
    """
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    params = ParamSchema([ParamSpec("with_version", DataType.boolean, default=False)])
    float32 = np.dtype("float32")
    outputs = Schema([TensorSpec(float32, (-1, *task_of(label).output_shape(features)))])
    if noise:
        return ModelSignature(Schema([TensorSpec(float32, (-1, noise), NOISE)]), outputs, params)
    return ModelSignature(Schema([_input(name, feature) for name, feature in features.items()]), outputs, params)


def _input(name: str, feature: Feature) -> Any:
    import numpy as np
    from mlflow.types import ColSpec, DataType, TensorSpec
    from mlflow.types.schema import Array

    if feature.input_dtype == "string":
        return ColSpec("string", name, required=not feature.is_nullable)
    if feature.is_list:
        return ColSpec(Array(DataType.double), name, required=not feature.is_nullable)
    if feature.is_single:
        return ColSpec("double", name, required=not feature.is_nullable)
    return TensorSpec(np.dtype("float32"), (-1, *feature.input_shape), name)


def _serving_rows(example: pl.DataFrame, features: Mapping[str, Feature], noise: int | None) -> Any:
    """The rows as the signature has them: arrays by name for an image or noise, else a pandas table."""
    import pandas as pd

    if noise:
        return {NOISE: normal_noise(example.height, noise, seed=0)}
    if images := ImageFeature.among(features):
        return model_inputs(example, features=dict([*images.items()][:1]))
    return pd.DataFrame({name: example[name].to_list() for name in features})


def _write_environment(folder: Path, *, also: tuple[str, ...]) -> None:
    """Name what the model needs outright: to infer it, MLflow would start TensorFlow in a second process."""
    names = ("mlflow", "keras", "tensorflow", "numpy", "pandas", *also)
    requirements = [f"{name}=={version(name)}" for name in names]
    environment = {
        "python": platform.python_version(),
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False), encoding="utf-8")
