"""The files of `ray up`, by Ray's own check, and what they have in common with the image."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest

FILES = ("infra/ray/aws.yaml", "infra/ray/machines.yaml")


def validated(config: dict[str, Any]) -> dict[str, Any]:
    """The file as `ray up` would use it; raises what Ray raises."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


@pytest.mark.parametrize("file", FILES)
def test_ray_takes_the_file(manifests, file) -> None:
    [config] = manifests[file]
    assert validated(config)["cluster_name"] == "headrace"


def test_ray_refuses_a_key_that_it_does_not_know(manifests) -> None:
    [config] = manifests["infra/ray/aws.yaml"]
    with pytest.raises(Exception, match="max_worker' was unexpected"):
        validated({**config, "max_worker": 1})


@pytest.mark.parametrize("file", FILES)
def test_ports_are_those_of_the_image(repository: Path, manifests, file) -> None:
    [config] = manifests[file]
    ports = set(re.findall(r"--[a-z-]+-port=\d+", (repository / "infra" / "image" / "entrypoint").read_text()))
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        [start] = [one for one in config[commands] if one.startswith("ray start ")]
        given = set(re.findall(r"--[a-z-]+-port=\d+", start))
        assert given <= ports
        assert len(given) == 8


@pytest.mark.parametrize("file", FILES)
def test_the_token_is_a_file_and_the_cluster_asks_for_it(manifests, file) -> None:
    [config] = manifests[file]
    options = config["docker"]["run_options"]
    assert "--env=RAY_AUTH_MODE=token" in options
    [path] = [one.rpartition("=")[2] for one in options if one.startswith("--env=RAY_AUTH_TOKEN_PATH=")]
    assert path in config["file_mounts"]
