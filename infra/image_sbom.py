"""Print the bill of materials of an image, as CycloneDX 1.6 JSON: every locked package with its version and hashes.

`make sbom TARGET=headrace-gpu`; the base and Debian's packages are the image's own, and a scanner's matter.
"""

import json
import re
import sys
from typing import Any

from infra.image_locks import FOLDER, LOCK, entries

LOCKS: dict[str, tuple[str, ...]] = {"headrace": (), "headrace-airflow": ("airflow",), "headrace-gpu": ("gpu",)}


def main(target: str) -> None:
    """Print the bill of a target of infra/image/Dockerfile."""
    locks = [LOCK, *(FOLDER / f"{name}.lock" for name in LOCKS[target])]
    print(json.dumps(bill(target, [file.read_text(encoding="utf-8") for file in locks]), indent=1))  # noqa: T201


def bill(target: str, locks: list[str]) -> dict[str, Any]:
    """The bill as CycloneDX says; the same locks give the same bytes, so it has neither date nor serial number."""
    found = {name: entry for lock in locks for name, entry in entries(lock).items()}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": target}},
        "components": [
            _component(name, version, entry) for name, entry in sorted(found.items()) for version in _versions(entry)
        ],
    }


def _versions(entry: str) -> list[str]:
    """One version, or several where markers choose among them."""
    return sorted(set(re.findall(r"^[^=\n]+==([^\s;\\]+)", entry, re.MULTILINE)))


def _component(name: str, version: str, entry: str) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": one} for one in re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)]
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "externalReferences": [{"type": "distribution", "url": f"pkg:pypi/{name}@{version}", "hashes": hashes}],
    }


if __name__ == "__main__":
    main(sys.argv[1])
