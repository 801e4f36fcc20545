"""The compose file: closed to other machines, secrets as files, and roles that the image has."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml


def test_the_file_is_valid_by_the_specification(compose) -> None:
    file = os.environ.get("COMPOSE_SCHEMA")
    if not file:
        pytest.skip("COMPOSE_SCHEMA names no schema/compose-spec.json of the compose specification")
    import jsonschema

    errors = jsonschema.Draft202012Validator(json.loads(Path(file).read_text())).iter_errors(compose)
    assert [error.message for error in errors] == []


def test_every_port_is_on_loopback(compose) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(published) == 4
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_secrets_are_files_that_make_secrets_makes_once(repository: Path, compose, tmp_path: Path) -> None:
    script = tmp_path / "make-secrets"
    script.write_bytes((repository / "infra" / "compose" / "make-secrets").read_bytes())
    subprocess.run(["bash", script], check=True, capture_output=True)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert set(made) == {Path(one["file"]).name for one in compose["secrets"].values()}
    assert all(made.values())
    assert yaml.safe_load(made["airflow_ray_connection"])["password"] == made["ray_token"]
    assert {(tmp_path / "secrets" / name).stat().st_mode & 0o777 for name in made} == {0o600}
    (tmp_path / "secrets" / "s3_secret").unlink()
    subprocess.run(["bash", script], check=True, capture_output=True)
    again = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert {name for name in made if again[name] != made[name]} == {"s3_secret"}


def test_each_service_reads_only_secrets_that_are_there(compose) -> None:
    for service in compose["services"].values():
        for secret in service.get("secrets", []):
            assert (secret if isinstance(secret, str) else secret["source"]) in compose["secrets"]


def test_services_of_our_image_have_few_rights_and_a_role(repository: Path, compose) -> None:
    entrypoint = (repository / "infra" / "image" / "entrypoint").read_text()
    roles = set(re.findall(r"^([a-z-]+)\)", entrypoint, re.MULTILINE)) | {"python", "airflow", "bash"}
    ours = {name: one for name, one in compose["services"].items() if "headrace" in one["image"]}
    assert len(ours) == 10
    for service in ours.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["user"].endswith(":0")
        assert service["command"][0] in roles


def test_what_is_needed_first_is_there_and_can_be_waited_for(compose) -> None:
    services = compose["services"]
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed]


def test_a_stopped_node_has_more_time_than_its_drain(compose) -> None:
    worker = compose["services"]["ray-worker"]
    grace_seconds = int(worker["stop_grace_period"].removesuffix("s"))
    assert grace_seconds >= int(worker["environment"]["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]) + 20
