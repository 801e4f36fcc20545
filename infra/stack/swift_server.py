"""One of OpenStack Swift's servers, run by Swift's own Python: `python -P swift_server.py KIND SETTINGS`.

Account, container and object servers serve any process that reaches them, without a key. So they listen on sockets in
the folder of their settings, which only its owner may enter, and not on ports. All four servers read them there.
"""

import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from eventlet import listen
from eventlet.green import socket
from swift.common import wsgi
from swift.common.bufferedhttp import BufferedHTTPConnection

_MODULES = {kind: f"swift.{kind}.server" for kind in ("proxy", "account", "container")} | {"object": "swift.obj.server"}


def main(kind: str, settings: Path) -> None:
    """Serve until a signal ends it."""
    # By its descriptor, because a socket's path is limited to 107 bytes and a folder's is not.
    folder = f"/proc/self/fd/{os.open(settings.parent, os.O_DIRECTORY)}"

    def bind(conf: dict[str, Any]) -> socket.socket:
        path = Path(folder) / f"{conf['bind_port']}.socket"
        path.unlink(missing_ok=True)
        return listen(str(path), family=socket.AF_UNIX, backlog=4096)  # as Swift itself on a port

    def connect(connection: BufferedHTTPConnection) -> None:
        connection._connected_time = time.time()
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(f"{folder}/{connection.port}.socket")

    if kind != "proxy":
        wsgi.get_socket = bind
    BufferedHTTPConnection.connect = connect
    sys.argv[1:] = [str(settings), "-v"]
    import_module(_MODULES[kind]).main()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
