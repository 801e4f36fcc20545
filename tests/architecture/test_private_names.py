"""Private names of other libraries: in the compatibility modules alone, where a new version is checked."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

PRIVATE_PATHS = (
    "tensorflow.python",
    "keras.src",
    "ray.train.v2.api",
    "ray.train.backend",
    "mlflow.store",
    *(f"airflow.{name}" for name in ("models", "utils", "sdk.bases", "sdk.definitions", "sdk.execution_time")),
)
OWN = {"self", "cls", "super"}
DOCUMENTED = {"_replace", "_asdict", "_fields", "_value_", "_exit"}  # of named tuples, enum and os


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_uses(file: Path) -> list[str]:
    """Each import from below a private name, and each private attribute of something that is not one's own."""
    tree = ast.parse(file.read_text())
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("headrace."):
            path = [*node.module.split("."), *(name.name for name in node.names)]
            if (path[0] != "_typeshed" and any(map(is_private, path))) or node.module.startswith(PRIVATE_PATHS):
                found.append(f"{file}:{node.lineno}: {node.module}")
        if isinstance(node, ast.Import) and any(
            is_private(part) for name in node.names for part in name.name.split(".")
        ):
            found.append(f"{file}:{node.lineno}: {node.names[0].name}")
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own | DOCUMENTED:
            owner = node.value.func if isinstance(node.value, ast.Call) else node.value
            if not (isinstance(owner, ast.Name) and owner.id in OWN):
                found.append(f"{file}:{node.lineno}: {ast.unparse(node)}")
    return found


def test_private_names_of_libraries_are_in_compatibility_modules_alone(repository: Path) -> None:
    files = [file for room in ("components", "pipelines", "dags") for file in sorted((repository / room).rglob("*.py"))]
    uses = [use for file in files if file.parent.name != "compatibility" for use in private_uses(file)]
    assert uses == []


@pytest.mark.parametrize(
    ("library", "module"),
    [
        ("keras", "components/compatibility/keras_internals.py"),
        ("tensorflow", "components/compatibility/tensorflow_internals.py"),
        ("ray", "pipelines/compatibility/ray_internals.py"),
        ("ray", "pipelines/compatibility/ray_train_internals.py"),
        ("mlflow", "pipelines/compatibility/mlflow_internals.py"),
        ("dvc", "pipelines/compatibility/dvc_messages.py"),
        ("airflow", "pipelines/compatibility/airflow_internals.py"),
    ],
)
def test_what_may_be_installed_is_what_was_tested(repository: Path, library: str, module: str) -> None:
    [tested] = re.findall(r"^TESTED_VERSIONS = \((.*)\)", (repository / module).read_text(), re.MULTILINE)
    versions = [tuple(map(int, version.split("."))) for version in re.findall(r'"([\d.]+)"', tested)]
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    packages = "\n".join([*project["dependencies"], *project["optional-dependencies"]["airflow"]])
    [bounds] = re.findall(rf"{library}(?:\[.*?\])?>=([\d.]+),<([\d.]+)", packages)
    lowest, bound = (tuple(map(int, version.split("."))) for version in bounds)
    assert min(versions)[:2] == lowest[:2]
    assert (max(versions)[0], max(versions)[1] + 1) == bound
