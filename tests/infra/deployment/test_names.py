"""Every variable, secret and port of a manifest is one of the product, and on docs/deploy.md."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY")
NOT_A_VALUE = re.compile(r"_(PATH|FILE)$|PASSWORDS_FILE$")


def variables(nodes: Iterator[dict[str, Any]]) -> Iterator[tuple[str, str | None]]:
    """Name and literal value, if it has one, of each variable: of Kubernetes, of compose, and of `docker run`."""
    for node in nodes:
        if isinstance(node.get("name"), str) and ("value" in node or "valueFrom" in node):
            yield node["name"], node.get("value")
        if isinstance(node.get("environment"), dict):
            yield from node["environment"].items()
        if node.get("kind") == "ConfigMap" and isinstance(node.get("data"), dict):  # no patch's target
            yield from node["data"].items()
        if isinstance(node.get("target"), str) and isinstance(node.get("source"), str):
            yield node["target"], None
        for option in node.get("run_options", ()):
            if found := re.fullmatch(r"--env=(\w+)=(.*)", option):
                yield found[1], found[2]
        if isinstance(node.get("extraEnv"), str):
            yield from variables(iter(yaml.safe_load(node["extraEnv"])))


@pytest.fixture(scope="module")
def named(repository: Path, manifests, every_node) -> dict[str, set[str | None]]:
    """Literal values of each variable of the manifests and of the image, by its name."""
    found: dict[str, set[str | None]] = {}
    every = (node for documents in manifests.values() for one in documents for node in every_node(one))
    for name, value in variables(every):
        if name.isupper() or name.startswith("RAY_"):
            found.setdefault(name, set()).add(value)
    dockerfile = (repository / "infra" / "image" / "Dockerfile").read_text()
    for name in re.findall(r"^(?:ENV|   ) +(\w+)=", dockerfile, re.MULTILINE):
        found.setdefault(name, set())
    return {name: values for name, values in found.items() if name not in ("PATH", "HOME", "USER")}


def sources(package: str) -> str:
    """The text of a package's Python files."""
    spec = find_spec(package)
    assert spec
    assert spec.origin
    return "\n".join(file.read_text(errors="ignore") for file in Path(spec.origin).parent.rglob("*.py"))


def test_there_are_variables_of_every_kind(named) -> None:
    assert {name.split("_")[0] for name in named} >= {"HEADRACE", "RAY", "MLFLOW", "AWS", "AIRFLOW"}


def test_variables_of_headrace_are_read_by_it(repository: Path, named) -> None:
    code = "\n".join(file.read_text() for file in (repository / "pipelines").rglob("*.py"))
    assert [name for name in named if name.startswith("HEADRACE_") and f'"{name}"' not in code] == []


def test_variables_of_mlflow_are_its_own(named) -> None:
    spec = find_spec("mlflow")
    assert spec
    assert spec.origin
    root = Path(spec.origin).parent
    code = (root / "environment_variables.py").read_text() + (root / "cli" / "__init__.py").read_text()
    assert [name for name in named if name.startswith("MLFLOW_") and f'"{name}"' not in code] == []


def test_variables_of_airflow_are_options_of_its_configuration(named) -> None:
    spec = find_spec("airflow")
    assert spec
    assert spec.origin
    options = yaml.safe_load((Path(spec.origin).parent / "config_templates" / "config.yml").read_text())
    known = {f"AIRFLOW__{section}__{key}".upper() for section, one in options.items() for key in one["options"]}
    simple = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"}
    assert [name for name in named if name.startswith("AIRFLOW__") and name not in known | simple] == []


def test_airflows_values_set_options_of_its_configuration(manifests) -> None:
    spec = find_spec("airflow")
    assert spec
    assert spec.origin
    options = yaml.safe_load((Path(spec.origin).parent / "config_templates" / "config.yml").read_text())
    [values] = manifests["infra/helm/airflow.yaml"]
    for section, settings in values["config"].items():
        assert [key for key in settings if key not in options[section]["options"]] == []


def test_variables_of_ray_are_its_own(named) -> None:
    spec = find_spec("ray")
    assert spec
    assert spec.origin
    root = Path(spec.origin).parent
    python = sources("ray")
    # Options of the C++ part have no list: their names are in its programs.
    programs = b"".join(file.read_bytes() for file in (root / "core" / "src" / "ray").rglob("*") if file.is_file())
    unknown = [
        name
        for name in named
        if name.startswith("RAY_") and name not in python and name.removeprefix("RAY_").encode() not in programs
    ]
    assert unknown == []


def test_every_variable_is_on_the_page(named, page) -> None:
    there = set(re.findall(r"\b[A-Z]\w+\b", page))
    assert [name for name in sorted(named) if name not in there and not name.startswith("AIRFLOW__")] == []


def test_no_secret_is_written_in_a_manifest(named, manifests, every_node) -> None:
    for name, values in named.items():
        if SECRET.search(name) and not NOT_A_VALUE.search(name):
            assert values <= {None}, name
    kinds = [node.get("kind") for documents in manifests.values() for one in documents for node in every_node(one)]
    assert "Secret" not in kinds


def test_every_secret_and_its_keys_are_on_the_page(manifests, every_node, page) -> None:
    found = set()
    for documents in manifests.values():
        for node in (node for one in documents for node in every_node(one)):
            texts = [value for value in node.values() if isinstance(value, str) and "secretKeyRef" in value]
            inner = [one for text in texts for one in every_node(yaml.safe_load(text))]
            for one in [node, *inner]:
                for key in ("secretRef", "secretKeyRef"):
                    if isinstance(one.get(key), dict):
                        found |= set(one[key].values())
            found |= {value for key, value in node.items() if key.lower().endswith("secretname")}
    assert {"mlflow-database", "airflow-secrets", "ray-connection", "git-key"} <= found
    table = page.partition("\n## Secrets\n")[2].partition("\n## ")[0]
    assert [name for name in sorted(found) if f"`{name}`" not in table] == []


def test_every_secret_of_compose_is_on_the_page(compose, page) -> None:
    table = page.partition("\n## Secrets\n")[2].partition("\n## ")[0]
    assert [name for name in compose["secrets"] if f"`{name}`" not in table] == []


def ports_of(table: str) -> set[int]:
    """Ports of the first column, ranges whole."""
    found: set[int] = set()
    for low, high in re.findall(r"^\| (\d+)(?: to (\d+))? \|", table, re.MULTILINE):
        found |= set(range(int(low), int(high or low) + 1))
    return found


def test_every_port_is_on_the_page(repository: Path, compose, render, every_node, page) -> None:
    documented = ports_of(page.partition("\n## Ports\n")[2].partition("\n## ")[0])
    used = {
        int(port) for port in re.findall(r"port=(\d+)", (repository / "infra" / "image" / "entrypoint").read_text())
    }
    used |= {
        int(end)
        for service in compose["services"].values()
        for port in service.get("ports", [])
        for end in port.split(":")[1:]
    }
    used |= {
        int(port)
        for service in compose["services"].values()
        for port in re.findall(r"127\.0\.0\.1:(\d+)", str(service.get("healthcheck")))
    }
    low, high = map(int, compose["services"]["ray-head"]["environment"]["HEADRACE_PORTS"].split("-"))
    used |= {low, high}
    for one in render("base"):
        for node in every_node(one):
            used |= {port for key, port in node.items() if key in ("containerPort", "port") and isinstance(port, int)}
    assert len(used) > 15
    assert used - documented == set()


def test_ranges_of_ports_do_not_overlap(page) -> None:
    table = page.partition("\n## Ports\n")[2].partition("\n## ")[0]
    ranges = [
        range(int(low), int(high or low) + 1)
        for low, high in re.findall(r"^\| (\d+)(?: to (\d+))? \|", table, re.MULTILINE)
    ]
    assert sum(map(len, ranges)) == len(ports_of(table))


def test_versions_of_charts_are_those_of_the_commands(repository: Path, page) -> None:
    pinned = [
        line.split()[:2]
        for line in (repository / "infra" / "helm" / "charts.lock").read_text().splitlines()
        if line[0] != "#"
    ]
    assert len(pinned) == 2
    for chart, version in pinned:
        assert f"{chart} --version {version}" in page


def test_paths_of_the_page_are_there(repository: Path, page) -> None:
    named = set(re.findall(r"(?<![\w/])(infra/[\w./-]*[\w-])", page))
    named = {path for path in named if "/secrets/" not in path}  # which make-secrets makes
    assert len(named) > 15
    assert [path for path in named if not (repository / path).exists()] == []


def test_terraform_is_short(repository: Path) -> None:
    lines = sum(len(file.read_text().splitlines()) for file in (repository / "infra" / "terraform").rglob("*.tf"))
    assert lines < 150
