"""Where databases are: addresses hold passwords, so they are in the environment and nowhere in a project."""

import os

from headrace.components.errors import ParamsError
from headrace.components.sources.sql.address import variable_of


def database_address(connection: str) -> str:
    """Address of a connection by its name; raises ParamsError where nothing names it."""
    variable = variable_of(connection)
    if address := os.environ.get(variable):
        return address
    raise ParamsError(
        f"{variable} is not set: it has the address of the database that ingest.source.connection calls "
        f"{connection!r}, postgresql://HOST:PORT/DATABASE with USER:PASSWORD and an at sign before HOST, or sqlite:////PATH"
    )
