"""Addresses of databases from connections of Airflow."""

import json

import pytest


def find(monkeypatch: pytest.MonkeyPatch, conn_id: str = "shop", **connection: object) -> str | None:
    from headrace.pipelines.airflow.connection import find_database

    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps(connection))
    return find_database(conn_id)


def test_an_address_has_all_that_its_connection_says(monkeypatch, tmp_path) -> None:
    from headrace.components.sources.sql.address import parsed_address

    found = find(
        monkeypatch,
        conn_type="postgres",
        host="db.example",
        port=5433,
        login="ann",
        password="p@ss/wo:rd %",
        schema="shop",
        extra={"sslmode": "require", "cursor": "dictcursor"},
    )
    assert found == "postgresql://ann:p%40ss%2Fwo%3Ard%20%25@db.example:5433/shop?sslmode=require"
    assert parsed_address(found, connection="shop", root=tmp_path).url.startswith(found)


def test_a_file_of_sqlite_is_found(monkeypatch, tmp_path) -> None:
    from headrace.components.sources.sql.address import parsed_address

    found = find(monkeypatch, conn_type="sqlite", host=str(tmp_path / "a b.db"))
    assert parsed_address(str(found), connection="shop", root=tmp_path).file == tmp_path / "a b.db"


def test_another_type_is_refused_and_none_is_none(monkeypatch) -> None:
    from headrace.components.errors import ParamsError

    with pytest.raises(ParamsError, match="Airflow's connection 'shop': expected the type Postgres or Sqlite"):
        find(monkeypatch, conn_type="mysql", host="h", password="S3CRET")
    assert find(monkeypatch, "none_of_this_name") is None
