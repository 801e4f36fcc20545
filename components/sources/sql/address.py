"""The address of a database: read whole before any library sees it, and never quoted."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from headrace.components.errors import ParamsError
from headrace.components.redaction import HIDDEN

_POSTGRESQL = re.compile(r"postgres(?:ql)?(?:\+\w+)?://(?P<rest>.*)", re.DOTALL)
_REST = re.compile(
    r"(?:(?P<user>[^@/?#\s:]*)(?::(?P<password>[^@/?#\s:]*))?@)?"
    r"(?P<hosts>(?:\[[0-9A-Fa-f:.%]+\]|[^@/?#\s:\[\]]*)(?::\d+)?(?:,(?:\[[0-9A-Fa-f:.%]+\]|[^@/?#\s:\[\],]*)(?::\d+)?)*)"
    r"(?:/(?P<database>[^/?#\s]*))?(?:\?(?P<options>[^#\s]*))?"
)
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_OPTION = re.compile(r"[a-z_]+=[^=&]*")
_LIMITS = {  # a server that is away, or that goes away, is noticed within a minute
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "application_name": "headrace",
}


def variable_of(connection: str) -> str:
    """Environment variable that has the address of a connection."""
    return f"HEADRACE_CONNECTION_{connection.upper()}"


@dataclass(frozen=True, repr=False)
class PostgresqlAddress:
    """A connection string of libpq, and all that must not be seen of it."""

    url: str
    secrets: tuple[str, ...]

    def hide(self, text: str) -> str:
        """The text without the secrets, in one line."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return " ".join(text.split())


@dataclass(frozen=True)
class SqliteAddress:
    """A file of SQLite."""

    file: Path


def parsed_address(address: str, *, connection: str, root: Path) -> PostgresqlAddress | SqliteAddress:
    """The address of a database; raises ParamsError, which does not quote it, for any other text."""
    if address.startswith("sqlite:"):
        path = unquote(re.sub(r"^(?://(?=/))?", "", address.removeprefix("sqlite:"), count=1))
        # As SQLAlchemy has it: sqlite:///rows.db is relative to the project, sqlite:////srv/rows.db is not.
        path = path.removeprefix("/") if address.startswith("sqlite:///") else path
        if path and "?" not in path:
            return SqliteAddress(root / path)
    elif scheme := _POSTGRESQL.fullmatch(address):
        found = _REST.fullmatch(scheme["rest"])
        options = (found["options"] or "") if found else ""
        pairs = options.split("&") if options else []
        if found and not _PERCENT.search(scheme["rest"]) and all(map(_OPTION.fullmatch, pairs)):
            return _postgresql(scheme["rest"], found["password"], options)
    raise ParamsError(
        f"{variable_of(connection)}: expected postgresql://HOST:PORT/DATABASE, with USER:PASSWORD and an at sign "
        "before HOST, or sqlite:////PATH; in a password, %40 stands for an at sign, %3A for a colon, %2F for a slash, "
        "%3F for a question mark, %25 for a percent sign. What the variable has is not shown"
    )


def _postgresql(rest: str, password: str | None, options: str) -> PostgresqlAddress:
    given = dict(pair.split("=", 1) for pair in options.split("&") if pair)
    more = "&".join(f"{name}={value}" for name, value in _LIMITS.items() if name not in given)
    hidden = [password or "", *(value for name, value in given.items() if "pass" in name)]
    secrets = {secret for one in hidden for secret in (one, unquote(one)) if secret}
    return PostgresqlAddress(f"postgresql://{rest}{'&' if '?' in rest else '?'}{more}", tuple(secrets))
