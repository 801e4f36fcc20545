"""Ray for one user of one machine: on 127.0.0.1, with a token of its own, in a folder that nobody else may enter."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from headrace.components.errors import ServiceError, UserError
from headrace.pipelines.compatibility.ray_internals import accept_loopback, read_token_again

ADDRESS = "127.0.0.1"
# Says to everything that Ray starts in turn that this machine is alone. Ray reads it on Linux, too.
VARIABLES = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# A socket's path has at most 107 bytes; ours has up to 88 below the folder of temporary files.
LONGEST_TEMPORARY_BYTES = 19

log = structlog.get_logger()


@contextmanager
def private_ray() -> Iterator[dict[str, Any]]:
    """Settings of `ray.init` for a cluster that starts in this process and that only its user reaches.

    Ray would make its folder writable by all, and its token a file in the home folder that everybody may read. Here
    the token is new each time and never in a file. The folder goes with the session, except where the block fails by a
    bug or a service: Ray's logs may say why.
    """
    accept_loopback()
    folder, is_kept = Path(tempfile.mkdtemp(prefix="headrace-", dir=_short_folder())), False
    try:
        variables = {**VARIABLES, "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_AUTH_MODE": None}
        if folder.parent == Path(tempfile.gettempdir()):
            variables["TMPDIR"] = str(folder)  # workers are ended before they can clear up: their files go with it
        with _environment(variables):
            yield {"_node_ip_address": ADDRESS, "_temp_dir": str(folder / "ray")}  # Ray lets all write there
    except Exception as error:
        is_kept = isinstance(error, ServiceError) or not isinstance(error, UserError)
        raise
    finally:
        if is_kept:
            log.info("Ray's own logs are kept", folder=str(folder))
        else:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _environment(variables: dict[str, str | None]) -> Iterator[None]:
    """Set these variables for the length of the block, None: none of that name; Ray reads its token again."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        _set(variables)
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    read_token_again()


def _short_folder() -> str:
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) <= LONGEST_TEMPORARY_BYTES else "/tmp"  # noqa: S108
