import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import stamina

from components.errors import DataError, ServiceError
from components.sources.settings import SourceFile
from pipelines.storage.fetch import fetch

CONTENT = b"a,b\n1,2\n" * 10_000


class Handler(BaseHTTPRequestHandler):
    """Answers each request with the next of `server.answers`, and the last one for ever."""

    def do_GET(self) -> None:
        self.server.requests.append(self.headers)
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, int):
            self.send_error(answer)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(answer)  # a shorter one than announced is a connection that breaks

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("HEADRACE_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, stamina.set_testing(True, attempts=3):
        server.answers, server.requests = [CONTENT], []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def source_file(url="https://example.org/data.csv", content=CONTENT, name="data.csv"):
    # model_construct, because params.yaml admits https only and a server on loopback has no certificate
    return SourceFile.model_construct(name=name, url=url, sha256=hashlib.sha256(content).hexdigest())


def url_of(server) -> str:
    return f"http://127.0.0.1:{server.server_port}/data.csv"


def test_a_file_is_downloaded_as_it_is(server, tmp_path) -> None:
    path = fetch(source_file(url_of(server)), dataset="numbers", folder=tmp_path / "raw")
    assert path == tmp_path / "raw" / "data.csv"
    assert path.read_bytes() == CONTENT
    assert server.requests[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("first", [503, 429, CONTENT[:100]], ids=["busy", "too many requests", "broken connection"])
def test_what_may_pass_is_tried_again(server, tmp_path, first) -> None:
    server.answers = [first, CONTENT]
    assert fetch(source_file(url_of(server)), dataset="numbers", folder=tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize(("answer", "requests"), [(404, 1), (403, 1), (500, 3), (CONTENT[:100], 3)])
def test_what_does_not_pass_is_an_error_and_leaves_nothing(server, tmp_path, answer, requests) -> None:
    server.answers = [answer]
    with pytest.raises(ServiceError, match=r"data\.csv.*Check the url in params\.yaml"):
        fetch(source_file(url_of(server)), dataset="numbers", folder=tmp_path)
    assert len(server.requests) == requests
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_an_error(server, tmp_path) -> None:
    with pytest.raises(ServiceError, match="can't download"):
        fetch(source_file("http://127.0.0.1:1/data.csv"), dataset="numbers", folder=tmp_path)


def test_a_wrong_checksum_names_file_expected_and_found_and_leaves_nothing(server, tmp_path) -> None:
    expected, found = hashlib.sha256(b"other").hexdigest(), hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(DataError, match=rf"data\.csv from .* expected {expected}, found {found} \(80000 bytes\)"):
        fetch(source_file(url_of(server), content=b"other"), dataset="numbers", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path) -> None:
    for _ in range(2):
        fetch(source_file(url_of(server)), dataset="numbers", folder=tmp_path)
    assert len(server.requests) == 1


def test_a_damaged_file_that_is_there_is_fetched_again(server, tmp_path) -> None:
    (tmp_path / "data.csv").write_bytes(CONTENT[:-1])
    assert fetch(source_file(url_of(server)), dataset="numbers", folder=tmp_path).read_bytes() == CONTENT


def test_a_mirror_takes_the_place_of_the_network(server, tmp_path, monkeypatch) -> None:
    (tmp_path / "mirror" / "numbers").mkdir(parents=True)
    (tmp_path / "mirror" / "numbers" / "data.csv").write_bytes(CONTENT)
    monkeypatch.setenv("HEADRACE_MIRROR", str(tmp_path / "mirror"))
    assert fetch(source_file(url_of(server)), dataset="numbers", folder=tmp_path / "raw").read_bytes() == CONTENT
    assert server.requests == []


def test_a_file_that_the_mirror_lacks_is_an_error_that_says_where_it_was_looked_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HEADRACE_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(ServiceError, match=r"mirror.numbers.data\.csv: No such file.*unset HEADRACE_MIRROR"):
        fetch(source_file(), dataset="numbers", folder=tmp_path / "raw")
    assert list((tmp_path / "raw").iterdir()) == []
