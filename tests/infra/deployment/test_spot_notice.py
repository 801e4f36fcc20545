"""The notice of a spot instance, from a stand-in for EC2's metadata to the command that drains the node."""

import http.server
import threading

import pytest

from infra.ray.spot_notice import drain_command, is_noticed, main


@pytest.fixture
def metadata():
    """Metadata of an instance: its answers need a token, and there is a notice once `notice` is set."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
            self._answer(200 if asked else 400, b"a token")

        def do_GET(self) -> None:
            is_known = self.headers["X-aws-ec2-metadata-token"] == "a token"
            there = self.path == "/latest/meta-data/spot/instance-action" and self.server.notice.is_set()
            self._answer((200 if there else 404) if is_known else 401, b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.notice = threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/latest"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_notice_is_seen_and_none_is_no_error(metadata):
    assert is_noticed(metadata.url) is False
    metadata.notice.set()
    assert is_noticed(metadata.url) is True
    assert is_noticed("http://127.0.0.1:9/latest") is False  # nobody listens


def test_the_node_is_drained_once_the_notice_comes(metadata, tmp_path, monkeypatch):
    monkeypatch.setattr("infra.ray.spot_notice.drain_command", lambda: ["touch", str(tmp_path / "drained")])
    threading.Timer(0.3, metadata.notice.set).start()
    main(metadata.url, poll_seconds=0.05)
    assert (tmp_path / "drained").exists()


def test_without_ray_it_says_so(monkeypatch):
    monkeypatch.setattr("psutil.process_iter", lambda _: iter(()))
    with pytest.raises(SystemExit, match="start Ray first"):
        drain_command()


def test_the_command_has_the_nodes_own_id_and_cluster(monkeypatch):
    class Raylet:
        info = {  # noqa: RUF012 - as psutil gives it
            "name": "raylet",
            "cmdline": ["/ray/raylet", "--node_id=abc", "--gcs-address=10.0.0.10:6379", "--verbose"],
        }

    monkeypatch.setattr("psutil.process_iter", lambda _: iter([Raylet()]))
    command = drain_command()
    assert command[:6] == ["ray", "drain-node", "--address", "10.0.0.10:6379", "--node-id", "abc"]
