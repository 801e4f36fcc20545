"""The whole local stack, started twice: all of it answers, but not to strangers; data stays, processes do not."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import httpx
import psutil
import pytest
from botocore.exceptions import ClientError

from headrace.components.errors import ServiceError
from infra.stack.postgres import program
from infra.stack.supervisor import Record, read_record

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]

Stack = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a space in its name, that PostgreSQL's user may pass where the tests run as root."""
    parent = Path(tempfile.mkdtemp(prefix="stack"))
    parent.chmod(0o711)
    yield parent / "a stack"
    for made in ((parent / "a stack" / "logs" / "ray").resolve(), parent):
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def stack(folder: Path, repository: Path) -> Iterator[Stack]:
    try:
        program("postgres")
    except ServiceError as error:
        pytest.skip(str(error))

    def run(command: str) -> "subprocess.CompletedProcess[str]":
        parts = [sys.executable, "-m", "infra.stack", command, "--folder", str(folder)]
        return subprocess.run(parts, cwd=repository, capture_output=True, text=True, timeout=600, check=False)

    yield run
    run("down")


def environment_of(folder: Path) -> dict[str, str]:
    """What a shell makes of the file `environment`."""
    command = ["env", "-i", "bash", "-c", f". '{folder}/environment' && env -0"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return dict(line.split("=", 1) for line in lines if line)


def processes_of(record: Record) -> list[psutil.Process]:
    supervisor = record.supervisor.find()
    return [supervisor, *supervisor.children(recursive=True)]


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def object_store(variables: dict[str, str], secret: str | None = None):
    return boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=secret or variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_DEFAULT_REGION"],
    )


def error_of(call: Callable[[], object]) -> int:
    with pytest.raises(ClientError) as caught:
        call()
    return caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


def test_the_whole_stack(stack: Stack, folder: Path) -> None:
    assert stack("status").returncode == 1
    started = stack("up")
    assert started.returncode == 0, started.stdout + started.stderr
    variables = environment_of(folder)
    password = check_airflow(variables, started.stdout)
    assert password in started.stdout
    check_object_store(variables)
    check_ray(variables, folder)
    check_mlflow(variables)
    processes = processes_of(read_record(folder / "state.json"))
    check_addresses(processes)
    check_backends(folder, processes)
    check_files(folder)
    again = stack("up")
    assert again.returncode == 0
    assert "up already" in again.stdout
    assert variables["MLFLOW_TRACKING_URI"] in again.stdout
    seen = stack("status")
    assert (seen.returncode, seen.stdout.count(" ready ")) == (0, 13), seen.stdout

    ended = stack("down")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert still_running(processes) == []
    assert stack("status").returncode == 1

    started = stack("up")
    assert started.returncode == 0, started.stdout + started.stderr
    assert environment_of(folder) == variables
    assert object_store(variables).get_object(Bucket="headrace-dvc", Key="a b/c")["Body"].read() == b"first"
    assert httpx.get(f"{variables['MLFLOW_TRACKING_URI']}/api/2.0/mlflow-artifacts/artifacts/a.txt").text == "kept"
    experiment = {"experiment_name": "kept"}
    url = f"{variables['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/get-by-name"
    assert httpx.get(url, params=experiment).status_code == 200
    processes = processes_of(read_record(folder / "state.json"))
    assert stack("down").returncode == 0
    assert still_running(processes) == []


def check_airflow(variables: dict[str, str], shown: str) -> str:
    """Log in as `up` says; return the password."""
    url = variables["AIRFLOW__API__BASE_URL"]
    password = shown.partition("password ")[2].split()[0]
    assert httpx.post(f"{url}/auth/token", json={"username": "admin", "password": "wrong"}).status_code == 401
    token = httpx.post(f"{url}/auth/token", json={"username": "admin", "password": password}).json()["access_token"]
    assert httpx.get(f"{url}/api/v2/dags").status_code == 401
    headers = {"Authorization": f"Bearer {token}"}
    deadline = time.monotonic() + 60  # ready is the DAG processor when it begins to read
    while httpx.get(f"{url}/api/v2/dags", headers=headers).json()["total_entries"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert httpx.get(f"{url}/api/v2/importErrors", headers=headers).json()["total_entries"] == 0
    return password


def check_object_store(variables: dict[str, str]) -> None:
    client = object_store(variables)
    assert {bucket["Name"] for bucket in client.list_buckets()["Buckets"]} == {"headrace-dvc", "headrace-mlflow"}
    place = {"Bucket": "headrace-dvc", "Key": "a b/c"}
    client.put_object(**place, Body=b"first", IfNoneMatch="*")
    assert error_of(lambda: client.put_object(**place, Body=b"second", IfNoneMatch="*")) == 412
    assert client.get_object(**place)["Body"].read() == b"first"
    assert error_of(lambda: object_store(variables, secret="0" * 64).list_buckets()) == 403


def check_ray(variables: dict[str, str], folder: Path) -> None:
    jobs = f"{variables['RAY_ADDRESS']}/api/jobs/"
    assert httpx.get(jobs).status_code == 401
    assert Path(variables["RAY_AUTH_TOKEN_PATH"]) == folder / "ray-token"
    headers = {"Authorization": f"Bearer {(folder / 'ray-token').read_text()}"}
    assert httpx.get(jobs, headers=headers).json() == []
    nodes = httpx.get(f"{variables['RAY_ADDRESS']}/nodes?view=summary", headers=headers).json()["data"]["summary"]
    resources = {node["raylet"]["nodeName"]: node["raylet"]["resourcesTotal"] for node in nodes}
    assert {name: (one.get("CPU"), one.get("GPU")) for name, one in resources.items()} == {
        "head": (None, None),
        "worker-1": (2, 1),
        "worker-2": (2, 1),
    }


def check_mlflow(variables: dict[str, str]) -> None:
    url = f"{variables['MLFLOW_TRACKING_URI']}/api/2.0"
    assert httpx.post(f"{url}/mlflow/experiments/create", json={"name": "kept"}).status_code == 200
    assert httpx.put(f"{url}/mlflow-artifacts/artifacts/a.txt", content=b"kept").status_code == 200
    assert object_store(variables).get_object(Bucket="headrace-mlflow", Key="a.txt")["Body"].read() == b"kept"
    check_strangers(url)


def check_strangers(url: str) -> None:
    """A page of another site in a user's browser can't use MLflow, which has no log-in."""
    search = {"url": f"{url}/mlflow/experiments/search", "json": {"max_results": 10}}
    assert httpx.post(**search).status_code == 200
    assert httpx.post(**search, headers={"Host": "example.org"}).status_code == 403  # by a name that leads here
    assert httpx.post(**search, headers={"Origin": "https://example.org"}).status_code == 403


def check_backends(folder: Path, processes: list[psutil.Process]) -> None:
    """The servers behind S3 ask for no key: they are on no port, and their sockets in a closed folder."""
    servers = [one for one in processes if any("swift_server.py" in part for part in one.cmdline())]
    ends = [end for one in servers for end in one.net_connections("inet") if end.status == psutil.CONN_LISTEN]
    assert (len(servers), len(ends)) == (4, 1)
    sockets = [*folder.glob("data/s3-settings/*.socket")]
    assert len(sockets) == 3
    assert sockets[0].parent.stat().st_mode & 0o077 == 0


def check_files(folder: Path) -> None:
    """What other users can get at is no more than the way to PostgreSQL's folder."""
    made = [folder, *folder.iterdir(), *(folder / "data").iterdir(), (folder / "logs" / "ray").resolve()]
    opened = {path.name for path in made if not path.is_symlink() and path.stat().st_mode & 0o077}
    assert opened <= {folder.name, "data"}
    assert all(path.stat().st_mode & 0o066 == 0 for path in made)


def check_addresses(processes: list[psutil.Process]) -> None:
    """Every server listens on this machine's loopback address."""
    listening = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1", "::ffff:127.0.0.1"}
