"""`make release VERSION=x.y.z`: checks, builds and tags a release; nothing is uploaded.

Needs a clean working tree whose pyproject.toml, CITATION.cff and CHANGELOG.md name the version. The wheel and the sdist
are left in dist/, and the commit gets an annotated tag with the changelog's section as its message.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")


class ReleaseError(Exception):
    """What keeps the version from being released, in one line."""


def release(version: str, *, root: Path = REPOSITORY) -> tuple[Path, Path]:
    """Check, build and tag the version; return the wheel and the sdist. Raises ReleaseError and then tags nothing."""
    notes = check(version, root=root)
    wheel, sdist = build(root, root / "dist")
    check_wheel(wheel, version=version)
    with tempfile.TemporaryDirectory() as temporary:
        _check_sdist(sdist, wheel=wheel, folder=Path(temporary))
    _git(root, "tag", "--annotate", f"v{version}", "--cleanup=verbatim", "--message", f"Headrace {version}\n\n{notes}")
    return wheel, sdist


def check(version: str, *, root: Path) -> str:
    """The changelog's section of the version. Raises ReleaseError for all that must be fixed first."""
    if not _VERSION.fullmatch(version):
        raise ReleaseError(f"VERSION is {version!r}, expected a version such as 1.2.3 or 1.2.3rc1")
    if changed := _git(root, "status", "--porcelain"):
        raise ReleaseError(f"the working tree is not clean; commit or remove:\n{changed}")
    if _git(root, "tag", "--list", f"v{version}"):
        raise ReleaseError(f"there is a tag v{version} already")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if project["version"] != version:
        raise ReleaseError(f"pyproject.toml has version {project['version']}, expected {version}")
    if not re.search(rf"^version: {re.escape(version)}$", (root / "CITATION.cff").read_text("utf-8"), re.MULTILINE):
        raise ReleaseError(f"CITATION.cff has another version, expected {version}")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}\n(.*?)(?=^## \[|\Z)"
    section = re.search(heading, (root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    if section is None or not section[1].strip():
        raise ReleaseError(f"CHANGELOG.md has no section '## [{version}] - YYYY-MM-DD' with text")
    return section[1].strip()


def build(source: Path, folder: Path, *targets: str) -> tuple[Path, Path]:
    """Build the wheel and the sdist of a source folder again, or only the `targets`; return where both are."""
    for old in (*folder.glob("headrace-*.whl"), *folder.glob("headrace-*.tar.gz")):
        old.unlink()
    chosen = [word for target in targets for word in ("--target", target)]
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder), *chosen]
    ended = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise ReleaseError(f"hatchling could not build it:\n{ended.stderr}")
    return next(folder.glob("headrace-*.whl")), next(folder.glob("headrace-*.tar.gz"), folder)


def check_wheel(wheel: Path, *, version: str) -> None:
    """Raise ReleaseError unless the wheel is of the version, holds one package and starts without the source."""
    with zipfile.ZipFile(wheel) as opened, tempfile.TemporaryDirectory() as temporary:
        about = f"headrace-{version}.dist-info"
        top = {name.split("/")[0] for name in opened.namelist()}
        if top != {"headrace", about}:
            raise ReleaseError(f"{wheel.name} holds {', '.join(sorted(top))}, expected headrace and {about}")
        opened.extractall(temporary)  # noqa: S202 - built a moment ago, from a clean tree
        variables = {**os.environ, "PYTHONPATH": temporary}
        code = "from headrace.pipelines import __main__; print(__main__.__file__, flush=True); __main__.main()"
        command = [sys.executable, "-P", "-c", code, "--help"]
        ended = subprocess.run(command, cwd=temporary, env=variables, capture_output=True, text=True, check=False)
        if ended.returncode != 0 or not ended.stdout.startswith(temporary):
            raise ReleaseError(f"headrace --help does not work from {wheel.name}:\n{ended.stdout}{ended.stderr}")


def _check_sdist(sdist: Path, *, wheel: Path, folder: Path) -> None:
    """Raise ReleaseError unless a wheel that is built from the sdist holds what the wheel holds."""
    with tarfile.open(sdist) as opened:
        opened.extractall(folder, filter="data")
    other, _ = build(next(folder.iterdir()), folder / "dist", "wheel")
    with zipfile.ZipFile(wheel) as ours, zipfile.ZipFile(other) as theirs:
        if different := {*ours.namelist()} ^ {*theirs.namelist()}:
            raise ReleaseError(f"a wheel built from {sdist.name} differs in {', '.join(sorted(different)[:5])}")


def _git(root: Path, *arguments: str) -> str:
    ended = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise ReleaseError(f"git {arguments[0]} failed: {ended.stderr.strip()}")
    return ended.stdout.strip()


def main() -> None:
    """Run the command line; what must be fixed is one message and exit code 2."""
    version = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        wheel, sdist = release(version)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own words
        sys.exit(2)
    print(  # noqa: T201
        f"dist/{wheel.name}\ndist/{sdist.name}\ntagged v{version}; nothing was uploaded. To publish it:\n"
        f"  git push origin v{version}"
    )


if __name__ == "__main__":
    main()
