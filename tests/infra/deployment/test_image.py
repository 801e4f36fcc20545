"""The image: its Dockerfile, its entrypoint, and that every target has the packages of requirements.lock."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from infra.image_locks import beyond, entries

TARGETS = ("headrace", "headrace-airflow", "headrace-gpu")


@pytest.fixture(scope="module")
def dockerfile(repository: Path) -> str:
    return (repository / "infra" / "image" / "Dockerfile").read_text()


def test_every_target_is_there_and_none_runs_as_root(dockerfile: str) -> None:
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", dockerfile, re.MULTILINE | re.DOTALL))
    for target in TARGETS:
        assert re.search(r"^USER 50000$", stages[target], re.MULTILINE)
        assert 'ENTRYPOINT ["/entrypoint"]' in stages[target]
    assert not dockerfile.startswith("# syntax=")


def test_what_is_copied_is_in_the_repository_and_reaches_the_builder(repository: Path, dockerfile: str) -> None:
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?:--chmod=\d+ )?([^-].*)$", dockerfile, re.MULTILINE)]
    sources = [source for line in copied for source in line]
    assert len(sources) > 10
    assert [source for source in sources if not (repository / source).exists()] == []
    sent = re.findall(
        r"^!(.+)$", (repository / "infra" / "image" / "Dockerfile.dockerignore").read_text(), re.MULTILINE
    )
    assert [source for source in sources if not any(Path(source).is_relative_to(one) for one in sent)] == []


def test_links_of_the_package_lead_to_what_is_copied(repository: Path, dockerfile: str) -> None:
    links = [
        file
        for room in ("headrace", "pipelines", "components")
        for file in (repository / room).rglob("*")
        if file.is_symlink()
    ]
    targets = {file.resolve().relative_to(repository.resolve()).as_posix() for file in links}
    assert targets
    assert [
        target for target in targets if not re.search(rf"^COPY .*(?<!\w){re.escape(target)}", dockerfile, re.MULTILINE)
    ] == []


@pytest.mark.parametrize("name", ["airflow", "gpu"])
def test_no_image_has_a_package_in_another_version(repository: Path, name: str) -> None:
    folder = repository / "infra" / "image"
    added = entries((folder / f"{name}.lock").read_text())
    common = entries((repository / "requirements.lock").read_text())
    assert added
    assert added.keys() & common.keys() == set()
    assert [entry for entry in added.values() if "--hash=sha256:" not in entry] == []


def test_packages_that_requirements_lock_has_are_left_out() -> None:
    added = "c==3 \\\n    --hash=sha256:3\n"
    assert beyond(f"a[x]==1 ; python_version < '3.13' \\\n    --hash=sha256:1\nb==2\n{added}", "a==1\nb==2\n") == added


@pytest.mark.parametrize("name", ["airflow", "gpu"])
def test_the_lock_has_what_is_asked_for(repository: Path, name: str) -> None:
    folder = repository / "infra" / "image"
    asked = [line for line in (folder / f"{name}.in").read_text().splitlines() if not line.startswith("#")]
    pinned = (
        entries((folder / f"{name}.lock").read_text()).keys()
        | entries((repository / "requirements.lock").read_text()).keys()
    )
    assert [one for one in asked if one.partition("[")[0] not in pinned] == []


@pytest.mark.parametrize("target", TARGETS)
def test_the_bill_of_materials_has_each_package_with_its_hashes(repository: Path, target: str) -> None:
    command = [sys.executable, "-m", "infra.image_sbom", target]
    said = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout
    components = {one["name"]: one for one in json.loads(said)["components"]}
    locked = entries((repository / "requirements.lock").read_text()).keys()
    assert locked <= components.keys()
    assert all(one["externalReferences"][0]["hashes"] for one in components.values())
    assert ("nvidia-nccl-cu12" in components) is (target == "headrace-gpu")
    assert ("apache-airflow-providers-git" in components) is (target == "headrace-airflow")


def run_entrypoint(repository: Path, *words: str, folder: Path) -> str:
    """What the entrypoint would run, where `ray` and `mlflow` print their arguments."""
    for name in ("ray", "mlflow"):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (folder / name).chmod(0o755)
    command = [str(repository / "infra" / "image" / "entrypoint"), *words]
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "MLFLOW_BACKEND_STORE_URI": "postgresql://somewhere/mlflow",
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_the_entrypoint_knows_its_roles_and_runs_all_else_as_it_is(repository: Path, tmp_path: Path) -> None:
    def said(*words: str) -> str:
        return run_entrypoint(repository, *words, folder=tmp_path)

    assert re.match(r"ray start --head .*--num-cpus=0 --port=6379 .*--dashboard-port=8265", said("ray-head"))
    worker = said("ray-worker", "--address=head:6379", "--num-cpus=2")
    assert worker.startswith("ray start --block ")
    assert worker.endswith("--address=head:6379 --num-cpus=2")
    assert said("mlflow", "--workers=2") == "mlflow server --host=0.0.0.0 --port=5000 --workers=2"
    assert said("migrate-mlflow") == "mlflow db upgrade postgresql://somewhere/mlflow"
    assert said("echo", "as it is") == "as it is"


def test_options_of_the_entrypoint_are_those_of_ray(repository: Path) -> None:
    text = (repository / "infra" / "image" / "entrypoint").read_text()
    options = set(re.findall(r"(--[a-z-]+)=", text)) - {"--host", "--address"}
    spec = find_spec("ray")
    assert spec
    assert spec.origin
    command_line = (Path(spec.origin).parent / "scripts" / "scripts.py").read_text()
    assert len(options) > 10
    assert [option for option in options if f'"{option}"' not in command_line] == []


def test_hadolint_has_nothing_to_say(repository: Path) -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "infra/image/Dockerfile", "infra/cluster_test/Dockerfile"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.stdout + linted.stderr == ""
