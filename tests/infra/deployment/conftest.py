"""Manifests of infra/ as they are rendered, and what is found in all of them."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

OVERLAYS = ("base", "overlays/eks", "overlays/gke", "overlays/on-prem")


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a document, however deep."""
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(one)


@pytest.fixture(scope="session")
def every_node():
    return nodes


@pytest.fixture(scope="session")
def render(repository: Path):
    """The objects of a folder of infra/kubernetes, as `kubectl kustomize` gives them."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on PATH: kustomize is what renders the overlays")

    @cache
    def rendered(folder: str) -> list[dict[str, Any]]:
        command = ["kubectl", "kustomize", str(repository / "infra" / "kubernetes" / folder)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return list(yaml.safe_load_all(ended.stdout))

    return rendered


@pytest.fixture(scope="session")
def manifests(repository: Path) -> dict[str, list[Any]]:
    """Every YAML file of the manifests by its path, as it is written."""
    files = [
        file
        for room in ("compose", "kubernetes", "helm", "ray")
        for file in (repository / "infra" / room).rglob("*.yaml")
    ]
    return {
        file.relative_to(repository).as_posix(): list(yaml.safe_load_all(file.read_text())) for file in sorted(files)
    }


@pytest.fixture(scope="session")
def compose(manifests: dict[str, list[Any]]) -> dict[str, Any]:
    return manifests["infra/compose/compose.yaml"][0]


@pytest.fixture(scope="session")
def page(repository: Path) -> str:
    return (repository / "docs" / "deploy.md").read_text()


@pytest.fixture(scope="session")
def locked(repository: Path):
    """The version that requirements.lock has of a package."""
    text = (repository / "requirements.lock").read_text()

    def version(name: str) -> str:
        [found] = set(re.findall(rf"^{re.escape(name)}==(\S+)", text, re.MULTILINE))
        return found

    return version
