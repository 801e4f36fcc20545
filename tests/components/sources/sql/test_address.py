"""Addresses of databases: which are understood, and that no message quotes one."""

from pathlib import Path

import pytest

from headrace.components.errors import ParamsError
from headrace.components.sources.sql.address import PostgresqlAddress, SqliteAddress, parsed_address

ROOT = Path("/project")


def parsed(address: str) -> PostgresqlAddress | SqliteAddress:
    return parsed_address(address, connection="crm", root=ROOT)


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("sqlite:////srv/crm.db", "/srv/crm.db"),
        ("sqlite:///data/crm.db", "/project/data/crm.db"),
        ("sqlite:data/crm.db", "/project/data/crm.db"),
        ("sqlite:/srv/crm.db", "/srv/crm.db"),
        ("sqlite:////srv/a%20b.db", "/srv/a b.db"),
    ],
)
def test_files_of_sqlite(address: str, file: str) -> None:
    assert parsed(address) == SqliteAddress(Path(file))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ann:pw@db.example:5432/crm?sslmode=require",
        "postgres://[::1]:5432,b/crm",
        "postgresql+psycopg2://ann@%2Fvar%2Frun/crm",
        "postgresql:///crm?host=/tmp/sockets",
        "postgresql://",
    ],
)
def test_servers_get_limits_beside_what_they_say(address: str) -> None:
    found = parsed(address)
    assert isinstance(found, PostgresqlAddress)
    assert found.url.startswith("postgresql://" + address.partition("://")[2])
    assert "connect_timeout=10" in found.url
    assert "connect_timeout=3&" in parsed("postgresql://h/d?connect_timeout=3").url  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "address",
    [
        "mysql://ann:S3CRET@h/d",
        "postgresql://ann:S3/CRET@h/d",
        "postgresql://ann:S3@CRET@h/d",
        "postgresql://ann:S3%CRET@h/d",
        "postgresql://h:S3CRET/d",
        "postgresql://h/d?S3CRET",
        "S3CRET",
        "sqlite:",
        "sqlite:///a.db?key=S3CRET",
    ],
)
def test_another_address_is_refused_without_a_word_of_it(address: str) -> None:
    with pytest.raises(ParamsError, match=r"^HEADRACE_CONNECTION_CRM: expected postgresql://HOST") as raised:
        parsed(address)
    assert not any(part in str(raised.value) for part in ("S3CRET", "CRET@"))


def test_a_password_is_hidden_as_it_is_written_and_as_it_is_meant() -> None:
    address = parsed("postgresql://ann:a%20b%40@h/d?sslpassword=S3CRET")
    assert isinstance(address, PostgresqlAddress)
    assert address.hide('no "a b@", "a%20b%40"\nand S3CRET') == 'no "***", "***" and ***'
    assert "S3CRET" not in repr(address)
