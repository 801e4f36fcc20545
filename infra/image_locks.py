"""Write infra/image/*.lock: the packages that an image has beyond requirements.lock, with their hashes.

A package is in requirements.lock or in such a file, never in both: what all images have, they have in one version.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK, FOLDER = ROOT / "requirements.lock", ROOT / "infra" / "image"
HEADER = "# Besides requirements.lock, what {name}.in asks for. No package is in both. Written by `make lock`.\n"


def main() -> None:
    """Write a lock for each list of requirements in infra/image; a conflict with requirements.lock ends in an error."""
    for wanted in sorted(FOLDER.glob("*.in")):
        with tempfile.NamedTemporaryFile("r", suffix=".lock") as resolved:
            command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "pyproject.toml", str(wanted)]
            command += ["--constraint", str(LOCK), "--group", "dev", "--all-extras", "--universal", "--quiet"]
            command += ["--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-emit-index-url"]
            subprocess.run([*command, "--output-file", resolved.name], cwd=ROOT, check=True)
            added = beyond(Path(resolved.name).read_text(encoding="utf-8"), LOCK.read_text(encoding="utf-8"))
        wanted.with_suffix(".lock").write_text(HEADER.format(name=wanted.stem) + added, encoding="utf-8")


def beyond(resolved: str, locked: str) -> str:
    """The entries of one lock whose packages the other has not, with their hashes."""
    has = entries(locked)
    return "".join(entry for name, entry in entries(resolved).items() if name not in has)


def entries(lock: str) -> Mapping[str, str]:
    """Lines of each package of a lock, its pins and hashes, by its name."""
    found: dict[str, str] = {}
    for entry in re.findall(r"^[A-Za-z0-9].*(?:\n[ \t].*)*\n", lock, re.MULTILINE):
        name = re.split(r"[=\[]", entry, maxsplit=1)[0]
        found[name] = found.get(name, "") + entry
    return found


if __name__ == "__main__":
    main()
