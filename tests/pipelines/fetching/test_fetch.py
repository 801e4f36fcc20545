"""Files that are fetched from servers which misbehave in every way known; each is a real one, on loopback."""

import datetime
import fcntl
import gzip
import hashlib
import os
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import stamina
import structlog

from headrace.components.errors import DataError, ServiceError
from headrace.components.sources.file import SourceFile
from headrace.components.sources.file_set import FileSet
from headrace.pipelines.fetching.fetch import fetch, located, sha256_of

CONTENT = b"a,b\n1,2\n" * 10_000
OTHER = b"c,d\n3,4\n" * 10_000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers each request with the next of `server.answers`, and the last one for ever."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append(self.headers)
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.close_connection = True
        if isinstance(answer, int):
            self.send_error(answer)
        elif isinstance(answer, bytes):
            self.answer(200, {"Content-Length": len(CONTENT)}, answer)  # a shorter one is a connection that breaks
        else:
            answer(self)

    def answer(self, status: int, headers: dict[str, object], content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def serving(content=CONTENT, *, etag='"1"', breaks_after=None, status=200, **headers):
    """An answer of a server that knows ranges and conditions, and may break off after some bytes."""

    def answer(handler: Handler) -> None:
        requested, known = handler.headers.get("Range"), handler.headers.get("If-None-Match")
        if known and known == etag:
            return handler.answer(304, {"ETag": etag})
        start = int(requested[6:-1]) if requested and handler.headers["If-Range"] == etag else 0
        described = {"Content-Length": len(content) - start, "ETag": etag} if etag else {"Content-Length": len(content)}
        described |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        described |= {name.replace("_", "-"): value for name, value in headers.items()}
        return handler.answer(206 if start else status, described, content[start:breaks_after])

    return answer


def plain(status: int = 200, content: bytes = CONTENT, **headers: object):
    return lambda handler: handler.answer(status, {n.replace("_", "-"): v for n, v in headers.items()}, content)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, stamina.set_testing(True, attempts=3):
        server.answers, server.requests = [CONTENT], []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def fetch_file(tmp_path, server):
    """Fetch from the server; its settings can be given."""

    def call(*, known_sha256=None, **settings):
        settings = {"url": f"http://127.0.0.1:{server.server_port}/data.csv", "allow_http": True} | settings
        file = SourceFile(name="data.csv", **settings)
        return fetch(
            file,
            dataset="numbers",
            folder=tmp_path / "raw",
            aside=tmp_path / "aside",
            root=tmp_path,
            known_sha256=known_sha256,
        )

    return call


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


PINNED = {"sha256": sha256(CONTENT)}


@pytest.mark.parametrize("pinned", [PINNED, {}], ids=["pinned", "unpinned"])
def test_a_file_is_downloaded_as_it_is(server, fetch_file, tmp_path, pinned):
    path = fetch_file(**pinned)
    assert path == tmp_path / "raw" / "data.csv"
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / "raw") == ["data.csv"]
    assert server.requests[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("first", [500, 503, 429, 408, CONTENT[:100]])
def test_what_may_pass_is_retried(server, fetch_file, first):
    server.answers = [first, first, CONTENT]
    assert fetch_file(**PINNED).read_bytes() == CONTENT
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "requests"), [(404, 1), (403, 1), (500, 3), (204, 1), (302, 1), (304, 3), (CONTENT[:100], 6)]
)
def test_what_does_not_pass_is_an_error_and_leaves_nothing(server, fetch_file, tmp_path, answer, requests):
    server.answers = [answer]
    with pytest.raises(ServiceError, match=r"data\.csv.*Check the url in params\.yaml"):
        fetch_file(**PINNED)
    assert len(server.requests) == requests
    assert names(tmp_path / "raw") == []


def test_a_server_that_is_not_there_is_an_error(fetch_file):
    with pytest.raises(ServiceError, match="can't download"):
        fetch_file(url="http://127.0.0.1:1/data.csv")


def test_a_wrong_checksum_keeps_the_file_aside_and_the_one_before(server, fetch_file, tmp_path):
    fetch_file(**PINNED)
    server.answers = [OTHER]
    refused = tmp_path / "aside" / "data.csv"
    text = rf"data\.csv from .* expected {'0' * 64}, found {sha256(OTHER)} \(80000 bytes, kept as {refused}\)"
    with pytest.raises(DataError, match=text):
        fetch_file(sha256="0" * 64)
    assert refused.read_bytes() == OTHER
    assert (tmp_path / "raw" / "data.csv").read_bytes() == CONTENT
    assert fetch_file(**PINNED).read_bytes() == CONTENT


def test_a_pinned_file_that_is_there_is_not_requested(server, fetch_file):
    for _ in range(2):
        fetch_file(**PINNED)
    assert len(server.requests) == 1


def test_a_damaged_file_that_is_there_is_fetched_again(server, fetch_file, tmp_path):
    server.answers = [serving()]
    for settings in (PINNED, {}):
        fetch_file(**settings)
        (tmp_path / "raw" / "data.csv").write_bytes(CONTENT[:-1])
        assert fetch_file(**settings).read_bytes() == CONTENT


@pytest.mark.parametrize("validator", [{}, {"etag": None, "Last_Modified": "Sat, 01 Jan 2022 00:00:00 GMT"}])
def test_an_unpinned_file_is_sent_again_only_if_it_changed(server, fetch_file, validator):
    server.answers = [serving(**validator), plain(304, b""), serving(OTHER, etag='"2"')]
    with structlog.testing.capture_logs() as logs:
        found = [sha256(fetch_file(known_sha256=sha256(CONTENT)).read_bytes()) for _ in range(3)]
    assert found == [sha256(CONTENT), sha256(CONTENT), sha256(OTHER)]
    assert [entry["event"] for entry in logs] == ["fetched", "unchanged", "fetched", "changed since the last ingest"]
    assert logs[0] | {"name": "data.csv", "bytes": 80_000, "sha256": sha256(CONTENT)} == logs[0]
    assert logs[3] | {"before": sha256(CONTENT), "sha256": sha256(OTHER), "log_level": "warning"} == logs[3]
    request = server.requests[1]
    assert (request["If-None-Match"] or request["If-Modified-Since"]) == validator.get("Last_Modified", '"1"')


def test_a_weak_etag_is_not_relied_on(server, fetch_file):
    server.answers = [serving(etag='W/"1"')]
    for _ in range(2):
        fetch_file()
    assert server.requests[1]["If-None-Match"] is None


def test_another_url_is_another_file(server, fetch_file):
    server.answers = [serving()]
    fetch_file()
    fetch_file(url=f"http://127.0.0.1:{server.server_port}/other.csv")
    assert server.requests[1]["If-None-Match"] is None


def test_a_broken_download_goes_on_where_it_broke(server, fetch_file):
    server.answers = [serving(breaks_after=20_000), serving(breaks_after=50_000), serving()]
    assert fetch_file().read_bytes() == CONTENT
    assert [request["Range"] for request in server.requests] == [None, "bytes=20000-", "bytes=50000-"]
    assert server.requests[1]["If-Range"] == '"1"'


def test_as_long_as_bytes_arrive_attempts_are_not_counted(server, fetch_file):
    server.answers = [*(serving(breaks_after=1000 * n) for n in range(1, 21)), serving()]
    assert fetch_file().read_bytes() == CONTENT
    assert len(server.requests) == 21


def test_the_next_call_goes_on_too(server, fetch_file, tmp_path):
    server.answers = [serving(breaks_after=20_000), 404]
    with pytest.raises(ServiceError):
        fetch_file()
    assert names(tmp_path / "raw") == []
    server.answers = [serving()]
    assert fetch_file().read_bytes() == CONTENT
    assert server.requests[2]["Range"] == "bytes=20000-"


def test_the_download_of_a_changed_file_goes_on_too(server, fetch_file, tmp_path):
    server.answers = [serving(), serving(OTHER, etag='"2"', breaks_after=20_000), serving(OTHER, etag='"2"')]
    fetch_file()
    assert fetch_file().read_bytes() == OTHER
    assert server.requests[1]["If-None-Match"] == '"1"'
    assert server.requests[2]["Range"] == "bytes=20000-"
    assert server.requests[2]["If-Range"] == '"2"'


def test_a_copy_that_broke_off_is_not_gone_on_with(server, fetch_file, tmp_path, monkeypatch):
    server.answers = [serving(breaks_after=20_000), 404]
    with pytest.raises(ServiceError):
        fetch_file()
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "data.csv").write_bytes(OTHER[:30_000])
    monkeypatch.setenv("HEADRACE_MIRROR", str(tmp_path))
    with pytest.raises(DataError):
        fetch_file(**PINNED)
    (tmp_path / "aside" / "data.csv").rename(tmp_path / "aside" / ".data.csv.part")
    monkeypatch.delenv("HEADRACE_MIRROR")
    server.answers = [serving()]
    assert fetch_file().read_bytes() == CONTENT


@pytest.mark.parametrize(
    "second",
    [
        serving(OTHER, etag='"2"'),  # another version: If-Range makes it send all
        plain(200, OTHER, Content_Length=len(OTHER)),  # ranges are not known
    ],
)
def test_a_file_that_changed_or_a_server_without_ranges_starts_over(server, fetch_file, second):
    server.answers = [serving(breaks_after=20_000), second]
    assert fetch_file().read_bytes() == OTHER
    assert len(server.requests) == 2


WRONG_RANGES = {
    "another start": {"Content_Range": "bytes 10000-79999/80000", "ETag": '"1"'},
    "none": {"ETag": '"1"'},
    "no total": {"Content_Range": "bytes 20000-79999/*", "ETag": '"1"'},
    "beyond the total": {"Content_Range": "bytes 20000-79999/70000", "ETag": '"1"'},
    "another version": {"Content_Range": "bytes 20000-79999/80000", "ETag": '"2"'},
}


@pytest.mark.parametrize("headers", WRONG_RANGES.values(), ids=WRONG_RANGES)
def test_a_range_that_was_not_requested_is_not_trusted(server, fetch_file, headers):
    wrong = plain(206, OTHER[20_000:], Content_Length=60_000, **headers)
    server.answers = [serving(breaks_after=20_000), wrong, serving()]
    assert fetch_file().read_bytes() == CONTENT
    assert server.requests[2]["Range"] is None


def test_a_range_that_is_not_there_starts_over(server, fetch_file):
    server.answers = [serving(breaks_after=20_000), plain(416, b"", Content_Length=0), serving()]
    assert fetch_file().read_bytes() == CONTENT
    assert server.requests[2]["Range"] is None


def test_a_shorter_range_than_requested_is_gone_on_with(server, fetch_file):
    half = plain(
        206, CONTENT[20_000:50_000], ETag='"1"', Content_Length=30_000, Content_Range="bytes 20000-49999/80000"
    )
    server.answers = [serving(breaks_after=20_000), half, serving()]
    assert fetch_file().read_bytes() == CONTENT
    assert server.requests[2]["Range"] == "bytes=50000-"


def test_without_a_validator_a_download_starts_over(server, fetch_file):
    server.answers = [CONTENT[:20_000], CONTENT]
    assert fetch_file().read_bytes() == CONTENT
    assert server.requests[1]["Range"] is None


def test_a_length_that_lies_never_passes(server, fetch_file, tmp_path):
    server.answers = [plain(200, CONTENT, Content_Length=len(CONTENT) + 1)]
    with pytest.raises(ServiceError, match="can't download"):
        fetch_file()
    server.answers = [plain(200, CONTENT, Content_Length=len(CONTENT) - 1)]  # HTTP ends the file there
    with pytest.raises(DataError, match=r"another SHA-256.*79999 bytes"):
        fetch_file(**PINNED)
    assert names(tmp_path / "raw") == []


def test_a_length_that_is_not_stated_is_unverifiable_without_a_checksum(server, fetch_file):
    server.answers = [plain(200, CONTENT)]
    with pytest.raises(ServiceError, match=r"does not say how long the file is.*put its SHA-256 into params"):
        fetch_file()
    assert fetch_file(**PINNED).read_bytes() == CONTENT


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n"):
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return plain(200, body + end, Transfer_Encoding="chunked")


def test_chunks_have_an_end_that_must_come(server, fetch_file):
    server.answers = [chunked(CONTENT, end=b""), chunked(CONTENT[:50], CONTENT[50:])]
    assert fetch_file().read_bytes() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "answer", [plain(200, CONTENT, Content_Length=len(CONTENT)), chunked(*[CONTENT] * 50)], ids=["announced", "endless"]
)
def test_a_file_that_is_too_large_is_not_read_on(server, fetch_file, tmp_path, answer):
    server.answers = [answer]
    with pytest.raises(DataError, match=r"data\.csv from .* has more than 70000 bytes; .*set max_bytes"):
        fetch_file(max_bytes=70_000)
    assert len(server.requests) == 1
    assert names(tmp_path / "raw") == []
    assert (tmp_path / "aside" / ".data.csv.part").stat().st_size == 0


def trickle(where: str):
    def answer(handler: Handler) -> None:
        try:
            if where == "body":
                handler.answer(200, {"Content-Length": 1000, "ETag": '"1"'})
            for _ in range(50):
                handler.wfile.write(b"H" if where == "body" else b"HTTP/1.1 200 OK\r\nX: y\r\n")
                time.sleep(0.1)
        except OSError:
            pass

    return answer


@pytest.mark.parametrize("where", ["body", "headers"])
def test_time_is_limited_in_all(server, fetch_file, where):
    server.answers = [trickle(where)]
    begin = time.monotonic()
    with pytest.raises(ServiceError, match=r"data\.csv: not complete after 0\.5 seconds"):
        fetch_file(timeout_seconds=0.5)
    assert time.monotonic() - begin < 2


def test_a_partial_answer_to_a_whole_question_is_not_trusted(server, fetch_file):
    server.answers = [plain(206, OTHER, Content_Length=80_000, Content_Range="bytes 0-79999/80000"), serving()]
    assert fetch_file().read_bytes() == CONTENT


def test_a_server_that_never_answers_is_left_when_time_is_up(server, fetch_file):
    server.answers = [lambda handler: time.sleep(1)]
    begin = time.monotonic()
    with pytest.raises(ServiceError, match=r"not complete after 0\.3 seconds"):
        fetch_file(timeout_seconds=0.3)
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_waited_for(server, fetch_file, as_date):
    def busy(handler: Handler) -> None:
        moment = format_datetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2), usegmt=True)
        handler.answer(429, {"Retry-After": moment if as_date else 1, "Content-Length": 0})

    server.answers = [busy, CONTENT]
    begin = time.monotonic()
    with stamina.set_testing(False):
        assert fetch_file(**PINNED).read_bytes() == CONTENT
    assert 0.9 <= time.monotonic() - begin < 4


@pytest.mark.parametrize("retry_after", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_retry_after_the_time_limit_is_not_waited_for(server, fetch_file, retry_after):
    server.answers = [plain(503, b"", Retry_After=retry_after, Content_Length=0)]
    with pytest.raises(ServiceError, match="503 Service Unavailable"):
        fetch_file(timeout_seconds=60)
    assert len(server.requests) == 1


@pytest.mark.parametrize("retry_after", ["soon", "", "-5", "Fri, 01 Jan 2010 00:00:00 GMT"])
def test_a_strange_retry_after_is_no_obstacle(server, fetch_file, retry_after):
    server.answers = [plain(503, b"", Retry_After=retry_after, Content_Length=0), CONTENT]
    assert fetch_file(**PINNED).read_bytes() == CONTENT


def test_redirects_are_followed_but_not_for_ever(server, fetch_file):
    server.answers = [plain(302, b"", Location="/elsewhere", Content_Length=0), CONTENT]
    assert fetch_file(**PINNED).read_bytes() == CONTENT
    server.answers = [plain(302, b"", Location="/data.csv", Content_Length=0)]
    with pytest.raises(ServiceError, match="maximum allowed redirects"):
        fetch_file()


@pytest.fixture
def secure(server, tmp_path, monkeypatch):
    """A server over TLS, whose certificate this machine trusts."""
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as secure:
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        secure.requests, secure.answers = [], [CONTENT]
        thread = threading.Thread(target=secure.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield secure
        secure.shutdown()
        thread.join()


def moved(location):
    return plain(302, b"", Location=location, Content_Length=0)


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{plain}/data.csv", "file:///etc/passwd", "ftp://127.0.0.1/x", "s3://bucket/key", "gopher://x/"],
)
@pytest.mark.parametrize("detour", [False, True])
def test_a_redirect_away_from_https_is_refused(server, secure, fetch_file, location, detour):
    away = moved(location.format(plain=server.server_port))
    secure.answers = [moved("/other"), away] if detour else [away]
    with pytest.raises(ServiceError, match=r"https:.* leads on to \w+://.*, which is not https"):
        fetch_file(url=f"https://127.0.0.1:{secure.server_port}/data.csv", allow_http=False)
    assert server.requests == []


def test_a_redirect_within_https_is_followed_and_nobody_is_sent_a_password(secure, fetch_file, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    secure.answers = [moved(f"https://localhost:{secure.server_port}/elsewhere"), CONTENT]
    url = f"https://127.0.0.1:{secure.server_port}/data.csv"
    assert fetch_file(url=url, allow_http=False, **PINNED).read_bytes() == CONTENT
    assert [headers["Authorization"] for headers in secure.requests] == [None, None]


def self_signed(folder):
    """A key and a certificate for 127.0.0.1, in one file."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


def test_what_a_server_compresses_unrequested_is_kept_as_sent(server, fetch_file):
    packed = gzip.compress(CONTENT)
    server.answers = [plain(200, packed, Content_Encoding="gzip", Content_Length=len(packed))]
    assert fetch_file().read_bytes() == packed
    with pytest.raises(DataError, match="another SHA-256"):
        fetch_file(**PINNED)


def test_of_two_that_fetch_one_file_the_second_finds_what_the_first_fetched(server, fetch_file, tmp_path):
    (tmp_path / "aside").mkdir()
    (tmp_path / "raw").mkdir()
    with (tmp_path / "aside" / ".data.csv.lock").open("a+") as stream, ThreadPoolExecutor() as second:
        fcntl.flock(stream, fcntl.LOCK_EX)
        waiting = second.submit(fetch_file, **PINNED)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        (tmp_path / "raw" / "data.csv").write_bytes(CONTENT)
        fcntl.flock(stream, fcntl.LOCK_UN)
        assert waiting.result(timeout=10).read_bytes() == CONTENT
    assert server.requests == []


def test_a_note_that_is_damaged_is_none(server, fetch_file, tmp_path):
    server.answers = [serving()]
    fetch_file()
    (tmp_path / "aside" / ".data.csv.json").write_text("{")
    assert fetch_file().read_bytes() == CONTENT


def test_a_mirror_takes_the_place_of_the_network(server, fetch_file, tmp_path, monkeypatch):
    (tmp_path / "mirror" / "numbers").mkdir(parents=True)
    (tmp_path / "mirror" / "numbers" / "data.csv").write_bytes(CONTENT)
    monkeypatch.setenv("HEADRACE_MIRROR", str(tmp_path / "mirror"))
    assert fetch_file(**PINNED).read_bytes() == CONTENT
    assert server.requests == []


def test_a_file_that_the_mirror_lacks_is_an_error_that_says_where_it_was_looked_up(fetch_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADRACE_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(ServiceError, match=r"mirror.numbers.data\.csv: No such file.*unset HEADRACE_MIRROR"):
        fetch_file(**PINNED)
    assert names(tmp_path / "raw") == []


LOCAL = {"url": "landing/numbers.csv", "allow_http": False}


@pytest.mark.parametrize("is_absolute", [False, True])
def test_a_file_of_this_machine_is_copied_and_seen_to_change(fetch_file, tmp_path, is_absolute):
    source = tmp_path / "landing" / "numbers.csv"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    before = source.stat()
    local = LOCAL | {"url": str(source) if is_absolute else LOCAL["url"]}
    assert fetch_file(**local).read_bytes() == CONTENT
    source.write_bytes(OTHER)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))  # size and time are what they were
    with structlog.testing.capture_logs() as logs:
        assert fetch_file(**local, known_sha256=sha256(CONTENT)).read_bytes() == OTHER
    assert logs[-1]["event"] == "changed since the last ingest"
    with pytest.raises(DataError, match="another SHA-256"):
        fetch_file(**local, **PINNED)
    assert (tmp_path / "raw" / "data.csv").read_bytes() == OTHER
    with pytest.raises(DataError, match="more than 10 bytes"):
        fetch_file(**local, max_bytes=10)


def test_a_path_that_is_no_file_is_an_error(fetch_file, tmp_path):
    with pytest.raises(ServiceError, match=r"can't read .*numbers\.csv: No such file.*Check the url in params\.yaml"):
        fetch_file(**LOCAL)
    (tmp_path / "landing").mkdir()
    with pytest.raises(ServiceError, match="Is a directory"):
        fetch_file(**LOCAL | {"url": "landing"})
    with pytest.raises(ServiceError, match="File name too long"):
        fetch_file(**LOCAL | {"url": "x" * 5000})


@pytest.mark.parametrize("is_linked", [False, True])
def test_what_is_no_file_is_refused_immediately(fetch_file, tmp_path, is_linked):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        for name, kind in ((tmp_path / "pipe", "pipe"), (tmp_path / "socket", "socket"), ("/dev/zero", "device")):
            (tmp_path / f"link-{kind}").symlink_to(name)
            url = f"link-{kind}" if is_linked else str(name)
            with pytest.raises(DataError, match=f"can't read .*: it is a {kind}, expected a file"):
                fetch_file(**LOCAL | {"url": url}, max_bytes=1000)
    assert names(tmp_path / "raw") == []


def test_a_local_file_is_not_read_beyond_its_limit_whatever_size_it_announces(fetch_file, tmp_path):
    endless = Path("/proc/self/pagemap")  # a regular file of 0 bytes, with a word for each page of the address space
    assert endless.stat().st_size == 0
    with pytest.raises(DataError, match="has more than 1000000 bytes"):
        fetch_file(**LOCAL | {"url": str(endless)}, max_bytes=1_000_000)
    assert (tmp_path / "aside" / ".data.csv.part").stat().st_size <= 1_000_000


def test_a_local_file_that_grows_is_not_read_beyond_its_limit(fetch_file, tmp_path):
    source = tmp_path / "log.csv"
    source.write_bytes(b"x" * 1_000_000)
    stopped = threading.Event()

    def grow():
        with source.open("ab") as stream:
            while not stopped.is_set() and stream.tell() < 200_000_000:
                stream.write(b"x" * 1_000_000)
                stream.flush()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        with pytest.raises((DataError, ServiceError), match=r"more than 5000000 bytes|changed while it was read"):
            fetch_file(**LOCAL | {"url": str(source)}, max_bytes=5_000_000)
    finally:
        stopped.set()
        thread.join()
    assert (tmp_path / "aside" / ".data.csv.part").stat().st_size <= 5_000_000


@pytest.mark.parametrize(
    ("root", "mirror", "found"),
    [
        ("data/photos", None, "/project/data/photos"),
        ("data/photos", "/mirror", "/mirror/flowers"),
        ("/photos", "/mirror", "/photos"),
        ("s3://bucket/photos", "/mirror", "s3://bucket/photos"),
    ],
)
def test_a_relative_set_of_files_is_one_of_the_mirror_or_the_project(monkeypatch, root, mirror, found):
    if mirror:
        monkeypatch.setenv("HEADRACE_MIRROR", mirror)
    files = located(FileSet(root=root, pattern="*/*.jpg"), dataset="flowers", root=Path("/project"))
    assert (files.root, files.pattern) == (found, "*/*.jpg")


@pytest.mark.parametrize("root", ["s3:bucket", "https://example.org/photos", "s3://"])
def test_a_set_of_files_is_in_a_folder_or_a_bucket(root):
    with pytest.raises(ValueError, match="must be a folder or s3://BUCKET/PREFIX"):
        FileSet(root=root)


def test_a_sum_is_of_what_a_file_holds_now_however_fast_it_changes(tmp_path):
    file = tmp_path / "values"
    for number in range(200):
        file.write_bytes(b"%03d" % number)
        assert sha256_of(file) == hashlib.sha256(b"%03d" % number).hexdigest()


def test_a_file_that_did_not_change_is_read_once_also_when_it_was_moved(tmp_path, monkeypatch):
    reads, digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: (reads.append(given), digest(*given))[1])
    file, moved = tmp_path / "values", tmp_path / "moved"
    file.write_bytes(b"abc")
    os.utime(file, (1_000_000, 1_000_000))
    first = sha256_of(file)
    file.rename(moved)
    assert sha256_of(moved) == first
    assert len(reads) == 1
    moved.write_bytes(b"abd")
    assert sha256_of(moved) == hashlib.sha256(b"abd").hexdigest()
