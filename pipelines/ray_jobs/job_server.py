"""Requests to Ray's job server: where it is, how to get in, and what went wrong, with its fix.

Nothing heavy is imported, and aiohttp only when a connection opens: Airflow reads such modules all the time.
"""

import asyncio
import json
import os
import re
import ssl
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import structlog

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.ray_cluster.addresses import is_loopback

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse
    from yarl import URL

RETRY_SECONDS = (0.5, 1.0, 2.0)
_CERTIFICATES = "HEADRACE_RAY_CA"
log = structlog.get_logger()
_TOKEN_PLACES = "RAY_AUTH_TOKEN, ~/.ray/auth_token, the file that RAY_AUTH_TOKEN_PATH names, or the Airflow connection"  # noqa: S105


@dataclass(frozen=True)
class Cluster:
    """Where a job server is, and how to get in; `verify` may name a file or folder of certificates."""

    address: str
    token: str | None = field(default=None, repr=False)
    verify: bool | str = True

    def __post_init__(self) -> None:
        where = urlsplit(self.address)
        if where.scheme not in ("http", "https") or not where.hostname or "@" in where.netloc:
            raise ParamsError(
                f"Ray's job server can't be at {self.address.rpartition('@')[2]!r}; expected http(s)://host:port, the "
                "address of the cluster's dashboard (port 8265 by default), in RAY_ADDRESS or the Airflow connection"
            )
        if self.token is not None and not re.fullmatch(r"[!-~]+", self.token):
            raise ParamsError(f"Ray's token is empty or has spaces or odd characters: fix it in {_TOKEN_PLACES}")
        if isinstance(self.verify, str) and not Path(self.verify).exists():
            raise ParamsError(f"no file or folder of certificates at {self.verify}; fix {_CERTIFICATES} or unset it")


def cluster_from_environment() -> Cluster:
    """The cluster whose job server RAY_ADDRESS names, with the token that Ray itself would find."""
    return Cluster(os.environ.get("RAY_ADDRESS", ""), token=_token(), verify=os.environ.get(_CERTIFICATES) or True)


def _token() -> str | None:
    """The token from the first place that Ray 2.60 reads, in its order; an empty variable counts as none, as in Ray."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if not named and not path.exists():
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(f"can't read Ray's token from {path} ({type(error).__name__}): fix that file") from None


@cache
def _warn_of_clear_text(address: str) -> None:
    """Once for each address: a token opens the whole cluster, and everybody on the way could read it."""
    where = urlsplit(address)
    if where.scheme == "http" and not is_loopback(where.hostname or ""):
        log.warning("Ray's token goes over the network unencrypted: put TLS in front of its dashboard", address=address)


class UnansweredError(ServiceError):
    """No answer came: nobody knows whether the server got the request."""


class JobServer:
    """A connection to one job server. No error, and no chain of errors, carries the token."""

    def __init__(self, cluster: Cluster, *, timeout_seconds: float) -> None:
        self.address = cluster.address.rstrip("/")
        self.timeout_seconds = timeout_seconds
        self._cluster = cluster
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        from aiohttp import ClientSession, ClientTimeout, TCPConnector  # imported here: every command would pay for it

        if self._cluster.token:
            _warn_of_clear_text(self.address)
        # Time limits are set where a request is made: uploads and sockets have others.
        self._session = ClientSession(connector=TCPConnector(ssl=self._tls()), timeout=ClientTimeout(total=None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._open.close()

    async def request(
        self, method: str, path: str, *, expected: tuple[int, ...] = (200,), **options: Any
    ) -> tuple[int, str]:
        """Send an idempotent request, up to four times while it fails with 5xx; status and body."""
        started = time.monotonic()
        for pause in (*RETRY_SECONDS, None):
            problem: ServiceError
            try:
                status, said = await self.send(method, path, **options)
                if status in expected:
                    return status, said
                problem = self.unexpected(status, said, f"{method} {path}")
                if status < 500:
                    break
            except UnansweredError as error:
                problem = error
            if pause is None or time.monotonic() - started > self.timeout_seconds:
                break
            await asyncio.sleep(pause)
        raise problem

    async def send(
        self, method: str, path: str, *, content: bytes = b"", authenticated: bool = True, seconds: float | None = None
    ) -> tuple[int, str]:
        """Send a request once; status and body. Raises UnansweredError, or ServiceError where the token is refused."""
        from aiohttp import ClientError

        headers = self._headers if authenticated else {}
        limit_seconds = seconds or self.timeout_seconds
        request = self._open.request(method, self._url(path), data=content, headers=headers, allow_redirects=False)
        try:
            async with asyncio.timeout(limit_seconds), request as answer:
                status, said = answer.status, await answer.text(errors="replace")
        except (ClientError, OSError) as error:  # a TimeoutError is an OSError
            raise self._unanswered(error, limit_seconds) from None  # aiohttp's own errors carry the headers
        if authenticated and status in (401, 403):
            raise self._refused(status)
        return status, said

    async def connect(self, path: str) -> "ClientWebSocketResponse":
        """Open a WebSocket; raises what aiohttp raises."""
        from aiohttp import ClientWSTimeout

        async with asyncio.timeout(self.timeout_seconds):
            return await self._open.ws_connect(
                self._url(path),
                headers=self._headers,
                max_msg_size=0,
                timeout=ClientWSTimeout(ws_close=0.1),  # Ray's side never says goodbye to a reader that closes first
            )

    def decode(self, said: str) -> Any:
        """Parse a body as JSON; raises ServiceError for anything else."""
        try:
            return json.loads(said)
        except ValueError:
            raise self.unexpected(200, said, "answer with JSON") from None

    def unexpected(self, status: int, said: str, what: str) -> ServiceError:
        """The error for an answer with an unexpected status."""
        lines = [line for line in said.splitlines() if re.search(r"\w", line)]  # often a traceback of Ray's
        reason = lines[-1][:300].rstrip(".") if lines else "nothing"
        if self._cluster.token:
            reason = reason.replace(self._cluster.token, "...")
        return ServiceError(
            f"Ray at {self.address} did not {what}: it answered {status}: {reason}. See that the address is that of a "
            "Ray dashboard; its reasons are in the cluster's logs/dashboard*.log"
        )

    def _unanswered(self, error: Exception, seconds: float) -> UnansweredError:
        late = isinstance(error, TimeoutError) and not str(error)
        reason = f"no answer within {seconds:.0f} s" if late else str(error) or type(error).__name__
        hint = f", or name its certificates in {_CERTIFICATES}" if "certificate" in reason else ""
        return UnansweredError(
            f"can't reach Ray's job server at {self.address}: {reason}. Start the cluster, or fix the address in "
            f"RAY_ADDRESS or the Airflow connection{hint}"
        )

    def _refused(self, status: int) -> ServiceError:
        what = "refuses the token it was given" if self._cluster.token else "asks for a token and was given none"
        return ServiceError(f"Ray at {self.address} {what} ({status}): put the cluster's token into {_TOKEN_PLACES}")

    def _tls(self) -> ssl.SSLContext | bool:
        if isinstance(self._cluster.verify, bool):
            return self._cluster.verify
        certificates = Path(self._cluster.verify)
        if certificates.is_dir():
            return ssl.create_default_context(capath=certificates)
        return ssl.create_default_context(cafile=certificates)

    @property
    def _open(self) -> "ClientSession":
        if self._session is None:
            raise RuntimeError("a job server must be entered with `async with`")
        return self._session

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._cluster.token}"} if self._cluster.token else {}

    def _url(self, path: str) -> "URL":
        from yarl import URL

        return URL(self.address + path, encoded=True)  # ids of DAG runs have ":" and "+"
