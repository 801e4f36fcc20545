"""docs/licences.md: the licences of what Headrace needs to run, as its packages declare them. `make licences`."""

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"

# Of packages that declare none, read in the file LICENSE that they contain.
_UNDECLARED = {"huey": "MIT", "namex": "Apache-2.0", "skops": "MIT"}
_COPYLEFT = re.compile(r"GPL|General Public|MPL|Mozilla|EPL")
_HEAD = """\
# Licences of the runtime

Headrace itself is under Apache-2.0. It is distributed without its packages, which `make setup` fetches from an index:
their licences bind all who distribute them, in an image, a wheelhouse or an appliance. Made by `make licences` on
Linux with Python {python} from requirements.lock; packages for development only are not in it. It is no legal advice.

## What follows for users

| if you | then |
|---|---|
| run Headrace, also as a service in your company | nothing: none of these licences binds use, and none is an AGPL |
| distribute an image that holds it | pass on the texts in each `*.dist-info`, and of the next table the source, too |
| change a package of the next table and distribute it | publish the change, under that package's licence |

- **GPL-2.0, grandalf**: DVC draws `dvc dag` with it and imports it for nothing else. Headrace never imports it, so it
  makes no combined work with it. Where a policy forbids the GPL, remove it after set-up: `dvc dag` alone is lost.
- **GPL-2.0 with linking exception, pygit2**: by DVC. The exception permits programs of any licence to use the compiled
  library; its own source, if changed, stays under the GPL.
- **Artistic or GPL, text-unidecode**: by Airflow's python-slugify. Take the Artistic licence: unchanged it may be
  passed on.
- **LGPL with exceptions, psycopg2-binary**: only the local stack and a server on PostgreSQL need it. A program may use
  it under any licence, if its user can replace the library, as with every package of Python.
- **MPL-2.0** (certifi, orjson, pathspec, shtab, tqdm): a copyleft of files. Who changes one of theirs and
  distributes it publishes that file.
- **A choice** (`OR`: asyncssh, dulwich): take the side that is no GPL, EPL-2.0 and Apache-2.0.

"""


class Package(NamedTuple):
    """A distribution, and what it declares; `needed_by` are those that require it."""

    name: str
    version: str
    licence: str
    needed_by: tuple[str, ...]


def runtime() -> list[Package]:
    """Every distribution that Headrace, or its local stack, needs here to run, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    installed: dict[str, Distribution] = {canonicalize_name(one.metadata["Name"]): one for one in distributions()}
    needed_by: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [("Headrace", Requirement(root)) for root in project["project"]["dependencies"]]
    extras = project["project"]["optional-dependencies"]
    for extra, roots in extras.items():
        user = "the local stack" if extra == "stack" else "Headrace"
        waiting += [(user, Requirement(root)) for root in roots]
    while waiting:
        parent, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in installed:
            raise SystemExit(f"{name} is not installed; run `make setup`")
        needed_by.setdefault(name, set()).add(parent)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(name, one) for one in _required(installed[name], extra)]
    return [
        Package(name, installed[name].version, licence(installed[name]), tuple(sorted(needed_by[name])))
        for name in sorted(needed_by)
    ]


def licence(distribution: Distribution) -> str:
    """A distribution's declared licence: an SPDX expression, else its classifiers, else the first line of its text."""
    metadata: Any = distribution.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [one.split(" :: ") for one in metadata.get_all("Classifier") or () if one.startswith("License ::")]
    text = (metadata.get("License") or "").strip().partition("\n")[0]
    if text and "exception" in text:
        return text  # which no classifier says
    if named := [parts[-1] for parts in classifiers if parts[-1] != "OSI Approved"]:
        return " OR ".join(named)
    return text or _UNDECLARED.get(canonicalize_name(metadata["Name"]), "unknown")


def page(packages: Iterable[Package]) -> str:
    """The page as Markdown: what follows for users, the copyleft licences, all of them."""
    packages = list(packages)
    copyleft = [one for one in packages if _COPYLEFT.search(one.licence)]
    rows = [f"| {one.name} | {one.licence} | {', '.join(one.needed_by)} |" for one in copyleft]
    lines = ["## Copyleft", "", "| package | licence | needed by |", "|---|---|---|", *rows, ""]
    lines += ["## All", "", "| package | version | licence |", "|---|---|---|"]
    lines += [f"| {one.name} | {one.version} | {one.licence} |" for one in packages]
    return _HEAD.format(python=".".join(map(str, sys.version_info[:2]))) + "\n".join(lines) + "\n"


def _required(distribution: Distribution, extra: str) -> list[Requirement]:
    found = map(Requirement, distribution.requires or ())
    return [one for one in found if one.marker is None or one.marker.evaluate({"extra": extra})]


if __name__ == "__main__":
    PAGE.write_text(page(runtime()), encoding="utf-8")
