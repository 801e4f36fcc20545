"""Known vulnerabilities of the packages in requirements.lock: `make audit`.

uv queries an advisory database (osv.dev, or another by an address of the same interface). It audits locks of its own
format only, so requirements.lock is written as one. Needs no package index. The exit code is 0 where nothing is known,
1 where something is, and 69 (EX_UNAVAILABLE) where no database answered.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

EXIT_FOUND = 1
EXIT_UNAVAILABLE = 69
TIMEOUT_SECONDS = 300
LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"

_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_PROJECT = '[project]\nname = "audited"\nversion = "0"\nrequires-python = ">=3.11"\n'


def pinned(lock: str) -> list[tuple[str, str]]:
    """Name and version of every package in a requirements.lock; some have one version for each Python."""
    return _PIN.findall(lock)


def audit(lock: Path = LOCK, *, options: tuple[str, ...] = ()) -> int:
    """Print what is known of the packages, and return the exit code. `options` go to `uv audit`."""
    pins = pinned(lock.read_text(encoding="utf-8"))
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pyproject.toml").write_text(_PROJECT, encoding="utf-8")
        (Path(folder) / "uv.lock").write_text(_uv_lock(pins), encoding="utf-8")
        command = [os.fspath(uv), "audit", "--frozen", "--preview-features", "audit-command", *options]
        ended = subprocess.run(command, cwd=folder, check=False, timeout=TIMEOUT_SECONDS)
    if ended.returncode in (0, EXIT_FOUND):
        return ended.returncode
    sys.stderr.write(
        f"audit: no advisory database could be reached, so nothing is known of these {len(pins)} packages; "
        "run it where osv.dev can be reached, or: make audit AUDIT='--service-url URL'\n"
    )
    return EXIT_UNAVAILABLE


def _uv_lock(pins: list[tuple[str, str]]) -> str:
    """The pins as a lock of uv's, whose packages are all needed, and come from an index that is never queried."""
    packages = [f'name = "{name}", version = "{version}", source = {{ registry = "." }}' for name, version in pins]
    lines = ["version = 1", 'requires-python = ">=3.11"', "[[package]]", 'name = "audited"', 'version = "0"']
    lines += ['source = { virtual = "." }', "dependencies = [", *(f"  {{ {one} }}," for one in packages), "]"]
    for one in packages:
        lines += ["[[package]]", *one.split(", ")]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(audit(options=tuple(sys.argv[1:])))
