"""S3: OpenStack Swift with its s3api, four processes from a virtual environment of their own."""

import errno
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from headrace.components.errors import ServiceError
from infra.stack.services import Service, fetch, listens_in
from infra.stack.state import Stack, write_private

ACCESS_KEY = "headrace:stack"
BUCKETS = ("headrace-dvc", "headrace-mlflow")
_LOCK = Path(__file__).with_name("swift-requirements.lock")
_PROGRAM = Path(__file__).with_name("swift_server.py")
# Each listens on a socket of this name in the folder of its settings. Swift's rings name servers by port.
_BACKENDS = {"account": 6202, "container": 6201, "object": 6200}

_SWIFT = """\
[swift-hash]
swift_hash_path_suffix = {suffix}
"""
_BACKEND = """\
[DEFAULT]
bind_port = {port}
swift_dir = {settings}
devices = {devices}
mount_check = false
workers = 0
user = {user}
log_level = WARNING

[pipeline:main]
pipeline = {kind}-server

[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY = """\
[DEFAULT]
bind_ip = {address}
bind_port = {port}
swift_dir = {settings}
workers = 0
user = {user}
log_level = WARNING

[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth slo dlo versioned_writes \
symlink proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true

[filter:s3api]
use = egg:swift#s3api
location = us-east-1

[filter:tempauth]
use = egg:swift#tempauth
user_{user_line} = {secret} .admin

[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
"""
_PLAIN_FILTERS = (
    "catch_errors",
    "gatekeeper",
    "healthcheck",
    "listing_formats",
    "bulk",
    "slo",
    "dlo",
    "symlink",
)


def services(stack: Stack, step: tuple[str, ...]) -> list[Service]:
    """The installation step, the four servers, and the step that creates the buckets."""
    python = str(_environment(stack) / "bin" / "python")
    folder = _settings(stack)

    def server(kind: str) -> tuple[str, ...]:
        return (python, "-P", str(_PROGRAM), kind, str(folder / f"{kind}.conf"))

    def backend(kind: str, port: int) -> Service:
        return Service(
            name=f"s3-{kind}",
            command=server(kind),
            needs=("s3-setup",),
            is_ready=lambda _since: listens_in(folder, f"{port}.socket"),
            address=f"{port}.socket",
            tier=1,
        )

    backends = [backend(kind, port) for kind, port in _BACKENDS.items()]
    proxy = Service(
        name="s3",
        command=server("proxy"),
        needs=tuple(one.name for one in backends),
        is_ready=lambda _since: fetch(f"{stack.url('s3')}/healthcheck") is not None,
        address=stack.url("s3"),
        tier=1,
    )
    setup = Service(name="s3-setup", command=(*step, "s3-setup"), once=True, start_seconds=600.0)
    return [setup, *backends, proxy, Service(name="buckets", command=(*step, "buckets"), needs=("s3",), once=True)]


def set_up(stack: Stack, *, address: str = "127.0.0.1") -> None:
    """Install Swift as its lock file says, and write its settings and rings; `address` is where S3 listens."""
    _check_attributes(stack.data)
    install(_environment(stack))
    settings, devices = _settings(stack), stack.data / "s3"
    for folder in (settings, devices):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
    (devices / "disk").mkdir(exist_ok=True)
    write_private(settings / "swift.conf", _SWIFT.format(suffix=stack.secrets["s3_hash_suffix"]))
    values = {"settings": settings, "user": pwd.getpwuid(os.geteuid()).pw_name}
    for kind, port in _BACKENDS.items():
        write_private(settings / f"{kind}.conf", _BACKEND.format(kind=kind, port=port, devices=devices, **values))
        _make_ring(stack, kind, port)
    proxy = _PROXY.format(
        address=address,
        port=stack.ports["s3"],
        user_line=ACCESS_KEY.replace(":", "_"),
        secret=stack.secrets["s3_secret_key"],
        **values,
    )
    filters = "".join(f"\n[filter:{name}]\nuse = egg:swift#{name}\n" for name in _PLAIN_FILTERS)
    write_private(settings / "proxy.conf", proxy + filters)


def make_buckets(stack: Stack) -> None:
    """Make the buckets that are missing."""
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=stack.url("s3"),
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=stack.secrets["s3_secret_key"],
        region_name="us-east-1",
        config=Config(connect_timeout=5, read_timeout=30, proxies={}),
    )
    there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for name in BUCKETS:
        if name not in there:
            client.create_bucket(Bucket=name)


def _environment(stack: Stack) -> Path:
    return stack.folder / "swift"


def _settings(stack: Stack) -> Path:
    return stack.data / "s3-settings"


def _check_attributes(folder: Path) -> None:
    """Swift keeps an object's metadata in extended attributes, which not every file system has."""
    probe = folder / ".attributes"
    probe.touch()
    try:
        os.setxattr(probe, "user.headrace", b"1")
    except OSError as error:
        raise ServiceError(
            f"{folder} is on a file system without extended attributes ({errno.errorcode[error.errno or 0]}), where "
            "OpenStack Swift can't keep objects; choose a folder on ext4, xfs or btrfs with --folder"
        ) from error
    finally:
        probe.unlink()


def install(environment: Path) -> None:
    """Make a virtual environment that holds what the lock file says, unless there is one."""
    stamp, wanted = environment / "headrace-stamp", hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return
    shutil.rmtree(environment, ignore_errors=True)
    python = str(environment / "bin" / "python")
    if (uv := shutil.which("uv")) is not None:
        make = [uv, "--quiet", "venv", "--python", sys.executable, str(environment)]
        install = [uv, "--quiet", "pip", "install", "--python", python]
    else:
        make = [sys.executable, "-m", "venv", str(environment)]
        install = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    variables = dict(os.environ)
    if Path("/etc/ssl/certs/ca-certificates.crt").is_file():
        variables.setdefault("UV_SYSTEM_CERTS", "true")  # a company's own are among them
    for command in (make, [*install, "--no-deps", "--require-hashes", "-r", str(_LOCK)]):
        if subprocess.run(command, env=variables, check=False).returncode != 0:
            raise ServiceError("could not install OpenStack Swift: is there a network? The reason is above")
    stamp.write_text(wanted, encoding="ascii")


def _make_ring(stack: Stack, kind: str, port: int) -> None:
    """Write which server has which object: the one on this machine has all (16 partitions, one copy)."""
    builder = _settings(stack) / f"{kind}.builder"
    stamp, wanted = builder.with_suffix(".port"), str(port)
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return
    for old in (builder, builder.with_suffix(".ring.gz")):
        old.unlink(missing_ok=True)
    bin_folder = _environment(stack) / "bin"
    for step in (["create", "4", "1", "1"], ["add", f"r1z1-127.0.0.1:{wanted}/disk", "100"], ["rebalance"]):
        command = [str(bin_folder / "python"), str(bin_folder / "swift-ring-builder"), str(builder), *step]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise ServiceError(f"swift-ring-builder {' '.join(step)}: {made.stdout}{made.stderr}")
    stamp.write_text(wanted, encoding="ascii")
