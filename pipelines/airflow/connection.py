"""The connection type "Ray": where a cluster's job server is, and how to get in; and addresses of databases."""

import os
from typing import Any
from urllib.parse import quote, urlencode

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from headrace.components.errors import ParamsError
from headrace.pipelines.ray_jobs.job_server import Cluster, cluster_from_environment

DEFAULT_CONNECTION = "ray_default"
_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs")  # of what a connection's extra may hold


class RayHook(BaseHook):  # type: ignore[misc]  # mypy does not follow imports into Airflow
    """Reaches Ray's job server: its address is `host` (and `port`), its token `password`; two settings are in extra.

    `verify` is true (the default), false, or a file or folder of certificates; `allow_open: true` accepts a cluster
    that anybody may use without a token.
    """

    conn_name_attr = "ray_conn_id"
    default_conn_name = DEFAULT_CONNECTION
    conn_type = "ray"
    hook_name = "Ray"

    def __init__(self, ray_conn_id: str = DEFAULT_CONNECTION) -> None:
        super().__init__()
        self.ray_conn_id = ray_conn_id

    def get_conn(self) -> Cluster:
        """The cluster that the connection names."""
        return _cluster(self.get_connection(self.ray_conn_id))

    async def aget_conn(self) -> Cluster:
        """`get_conn` within an event loop, as a trigger needs it."""
        return _cluster(await self.aget_connection(self.ray_conn_id))


def find_cluster(ray_conn_id: str) -> Cluster | None:
    """The cluster of a connection or, without such a connection, of RAY_ADDRESS; None if neither names one."""
    try:
        return RayHook(ray_conn_id).get_conn()
    except AirflowNotFoundException:
        return _of_environment()


async def afind_cluster(ray_conn_id: str) -> Cluster | None:
    """`find_cluster` within an event loop."""
    try:
        return await RayHook(ray_conn_id).aget_conn()
    except AirflowNotFoundException:
        return _of_environment()


def _of_environment() -> Cluster | None:
    if os.environ.get("RAY_ADDRESS", "").startswith(("http://", "https://")):
        return cluster_from_environment()
    return None


def _cluster(connection: Any) -> Cluster:
    extra = connection.extra_dejson
    host = connection.host or ""
    address = host if "://" in host else f"http://{host}"
    port = f":{connection.port}" if connection.port else ""
    token = connection.password or extra.get("token")
    return Cluster(f"{address.rstrip('/')}{port}", token=token, verify=extra.get("verify", True))


def allows_open(ray_conn_id: str) -> bool:
    """Whether the connection accepts a cluster without authentication."""
    try:
        return bool(RayHook(ray_conn_id).get_connection(ray_conn_id).extra_dejson.get("allow_open"))
    except AirflowNotFoundException:
        return False


def find_database(conn_id: str) -> str | None:
    """Address of the database of a connection of Airflow, of type Postgres or Sqlite; None without such a connection.

    Raises ParamsError for a connection of another type.
    """
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None
    match connection.conn_type:
        case "postgres" | "postgresql":
            words = [quote(word, safe="") for word in (connection.login, connection.password) if word]
            user = f"{':'.join(words)}@" if words else ""
            port = f":{connection.port}" if connection.port else ""
            options = {key: value for key, value in connection.extra_dejson.items() if key in _TLS}
            query = f"?{urlencode(options, quote_via=quote)}" if options else ""
            host = quote(connection.host or "", safe=":[].,")
            return f"postgresql://{user}{host}{port}/{quote(connection.schema or '', safe='')}{query}"
        case "sqlite":
            return f"sqlite:///{quote(connection.host or '')}"
    raise ParamsError(f"Airflow's connection {conn_id!r}: expected the type Postgres or Sqlite, found another type")
