"""How MLflow runs a registered model. This file is copied into the model, so it may import nothing of Headrace.

`mlflow.keras` alone can't serve these models: it hands a table to Keras as one matrix, and text arrays are refused by
`keras.Model.predict`.
"""

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import yaml

PERMISSION = "HEADRACE_SERVE_OWN_CODE"
_OF_HUB = (b'"keras_hub', b'"keras_nlp')  # classes of KerasHub, which requirements.txt has then
_OWN_CODE = "assets/own_code/"  # in model.keras: files of a project that make the model's classes, as text


class RawModel:
    """A saved model that takes raw rows; `identity` says which registered version it is."""

    def __init__(self, model: Any, identity: Mapping[str, str]) -> None:
        self.model, self.identity = model, identity
        self.inputs: dict[str, Any] = model.input  # symbolic tensors by feature name, as the model was built

    def predict(
        self, rows: "pd.DataFrame | Mapping[str, Any]", params: "Mapping[str, Any] | None" = None, **_: Any
    ) -> Any:
        """Predict float32[rows, classes] probabilities, or float32[rows, 1], for a table or for arrays by feature name.

        A missing value is None or NaN; a column that is not there is missing in every row. With the parameter
        `with_version` it is a dict: the name, version and SHA-256 of the model, and these as `outputs`.
        """
        count = len(next(iter(rows.values()))) if isinstance(rows, Mapping) else len(rows)
        tensors = {
            name: _array(rows[name] if name in rows else [None] * count, text=spec.dtype == "string", shape=spec.shape)
            for name, spec in self.inputs.items()
        }
        outputs = np.asarray(self.model(tensors, training=False))
        return {**self.identity, "outputs": outputs} if (params or {}).get("with_version") else outputs


def _array(values: Any, *, text: bool, shape: tuple[int | None, ...]) -> np.ndarray:
    if isinstance(values, pd.Series) and values.dtype == object:
        values = values.tolist()  # NumPy makes no matrix of a column of lists
    if text:
        flat = np.asarray(values, dtype=object).reshape(-1)
        array = np.array(["" if pd.isna(value) else str(value) for value in flat], dtype=object)
    else:
        array = np.asarray(values, dtype=np.float32)  # None becomes NaN
    return array.reshape(len(array), *shape[1:])


def _load_pyfunc(path: str) -> RawModel:
    """Load the model in an MLflow model's data folder; the name and the argument are MLflow's.

    Raises ValueError where the file is not the one that was packaged, and where it needs code that it holds and the
    environment does not permit. Code that a model of Keras's own layers holds is not run.
    """
    file = Path(path) / "model.keras"
    # Not beside __file__: a process that serves two models has imported this module once, from the first.
    expected = (Path(path).with_name("code") / "model.sha256").read_text(encoding="utf-8").strip()
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise ValueError(f"{file} was changed after it was packaged: expected SHA-256 {expected}, found {found}")
    identity = _identity(Path(path).parent, found)
    try:
        return RawModel(_load(file), identity)
    except TypeError:  # Keras, of a class that it can't locate
        sources = _sources(file)
        if not sources:
            raise
    if os.environ.get(PERMISSION) != "1":
        raise ValueError(
            f"the model needs code of a project that it holds, {', '.join(sources)}, which would run with your rights: "
            f"set {PERMISSION}=1 to run it, if you trust all who may write to this registry"
        )
    return RawModel(_load_with_code(file, sources), identity)


def _identity(folder: Path, digest: str) -> dict[str, str]:
    """Name and version as MLflow notes them when it fetches a registered model, "" for one that is not; its digest."""
    meta = folder / "registered_model_meta"
    noted = yaml.safe_load(meta.read_text(encoding="utf-8")) if meta.is_file() else {}
    names = {"model": "model_name", "version": "model_version"}
    return {**{name: str(noted.get(key, "")) for name, key in names.items()}, "model_sha256": digest}


def _load(file: Path) -> Any:
    with zipfile.ZipFile(file) as archive:
        if any(name in archive.read("config.json") for name in _OF_HUB):
            import keras_hub  # noqa: F401 - registers its classes
    return keras.saving.load_model(file, compile=False, safe_mode=True)


def _sources(file: Path) -> dict[str, str]:
    """The code that a model holds, by path in its project."""
    with zipfile.ZipFile(file) as archive:
        found = sorted(name for name in archive.namelist() if name.startswith(_OWN_CODE))
        return {name.removeprefix(_OWN_CODE): archive.read(name).decode() for name in found}


def _load_with_code(file: Path, sources: Mapping[str, str]) -> Any:
    from headrace_text_modules import import_file, importable_texts  # copied beside this file

    with importable_texts(sources):
        for source in sources:
            import_file(source)
        return _load(file)
