"""What a stack keeps between starts: where things lie, its ports and its secrets."""

import base64
import json
import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.components.files.atomic import replace_file

# Below the range from which the system takes ports for outgoing connections: no client sits on them between two starts.
PORTS = {
    "airflow": 18080,
    "mlflow": 15000,
    "ray-dashboard": 18265,
    "ray": 16379,
    "ray-client": 16380,
    "s3": 18333,
    "postgres": 15432,
}
SECRETS = (
    "postgres",
    "airflow_database",
    "mlflow_database",
    "airflow_password",
    "airflow_api",
    "airflow_jwt",
    "airflow_fernet",
    "s3_secret_key",
    "s3_hash_suffix",
    "ray_token",
)


@dataclass(frozen=True)
class Stack:
    """One stack: the repository it serves, its folder, its ports and its secrets."""

    root: Path
    folder: Path
    ports: dict[str, int]
    secrets: dict[str, str]

    @property
    def data(self) -> Path:
        """Folder of the servers' data."""
        return self.folder / "data"

    @property
    def logs(self) -> Path:
        """One file per service; Airflow's tasks and Ray's own files in folders of their own."""
        return self.folder / "logs"

    @property
    def state(self) -> Path:
        """File of the services' states, which the supervisor writes at each change."""
        return self.folder / "state.json"

    @property
    def environment(self) -> Path:
        """File of a client's environment variables, as lines for a shell."""
        return self.folder / "environment"

    @property
    def ray_token(self) -> Path:
        """The file that RAY_AUTH_TOKEN_PATH names."""
        return self.folder / "ray-token"

    def url(self, name: str) -> str:
        """The http address of a server, without a slash at its end."""
        return f"http://127.0.0.1:{self.ports[name]}"


def open_stack(folder: Path, *, root: Path) -> Stack:
    """Open the stack of a folder, which is created if need be; its ports and secrets stay the same from then on."""
    folder = folder.absolute()
    # Root's PostgreSQL runs as another user, who has to get at its own folder, but sees nothing on the way there.
    passable = 0o711 if os.geteuid() == 0 else 0o700
    for made, mode in {folder: passable, folder / "data": passable, folder / "logs": 0o700}.items():
        made.mkdir(parents=True, exist_ok=True)
        made.chmod(mode)
    for made in (*folder.iterdir(), *(folder / "data").iterdir()):  # also by older versions
        with suppress(FileNotFoundError):  # the supervisor replaces its record all the time
            if made != folder / "data" and not made.is_symlink() and made.stat().st_uid == os.geteuid():
                made.chmod(made.stat().st_mode & 0o700)
    stack = Stack(root, folder, _ports(folder / "ports.json"), _secrets(folder / "secrets.json"))
    write_private(stack.ray_token, stack.secrets["ray_token"])
    return stack


def _ports(file: Path) -> dict[str, int]:
    known: dict[str, int] = read_json(file) or {}
    ports = {name: port for name, port in known.items() if name in PORTS}
    for name in PORTS.keys() - ports.keys():
        ports[name] = next(port for port in range(PORTS[name], 32768) if port not in ports.values() and is_free(port))
    _write_if_new(file, ports)
    return ports


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was ours a moment ago is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _secrets(file: Path) -> dict[str, str]:
    found: dict[str, str] = read_json(file) or {}
    for name in SECRETS:
        found.setdefault(name, secrets.token_hex(32) if name != "airflow_fernet" else _fernet_key())
    _write_if_new(file, found)
    return found


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _write_if_new(file: Path, content: dict[str, Any]) -> None:
    if read_json(file) != content:
        write_private(file, json.dumps(content, indent=2) + "\n")


def read_json(file: Path) -> Any:
    """The content of a JSON file; None where there is no such file."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    with replace_file(file) as temporary:
        temporary.chmod(0o600)
        temporary.write_text(text, encoding="utf-8")
