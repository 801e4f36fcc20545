"""Images of the cluster: a base without a registry, Headrace's own by infra/image/Dockerfile, and S3."""

import subprocess
import tempfile
from pathlib import Path

from headrace.components.errors import ServiceError
from infra.cluster_test.docker import Docker

HEADRACE, S3 = "headrace:cluster-test", "headrace-s3:cluster-test"
_BASE = "headrace-base:cluster-test"
_SUITE = "bookworm"
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")  # a company's own is among them
_BUILD_SECONDS = 3600.0


def build(docker: Docker, repository: Path) -> None:
    """Build both images, of which Docker keeps what has not changed; the first time it takes many minutes.

    Needs Debian's archive and the package index.
    """
    if not docker("images", "--quiet", _BASE):
        _import_base(docker)
    _build(docker, repository, "infra/image/Dockerfile", tag=HEADRACE, base=_BASE, target="headrace")
    _build(docker, repository, "infra/cluster_test/Dockerfile", tag=S3, base=HEADRACE, target="s3")
    docker("image", "prune", "--force")  # those that the two have replaced


def _import_base(docker: Docker) -> None:
    """Debian with its Python, as debootstrap makes it."""
    with tempfile.TemporaryDirectory(prefix="headrace-base-") as parent:
        folder = str(Path(parent) / "root")
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=python3,ca-certificates", _SUITE, folder],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
        if made.returncode != 0:
            raise ServiceError(f"debootstrap ended with {made.returncode}: {made.stdout[-500:]}{made.stderr[-500:]}")
        archive = Path(parent) / "base.tar"
        subprocess.run(["tar", "--directory", folder, "--create", "--file", archive, "."], check=True)
        docker("import", str(archive), _BASE, timeout_seconds=_BUILD_SECONDS)


def _build(docker: Docker, repository: Path, file: str, *, tag: str, base: str, target: str) -> None:
    secret = ["--secret", f"id=ca,src={_AUTHORITIES}"] if _AUTHORITIES.is_file() else []
    options = ["--build-arg", f"BASE={base}", "--target", target, "--tag", tag, "--network", "host", *secret]
    command = ["build", "--progress", "plain", "--file", str(repository / file), *options, str(repository)]
    docker(*command, timeout_seconds=_BUILD_SECONDS)
