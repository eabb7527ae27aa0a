"""A small model hub on 127.0.0.1 that speaks the endpoints a download needs: model, tree, and files with ranges."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the hub offers and what was asked of it. Files in ``large`` are described by SHA-256, others by git id."""

    name: str = "tiny/model"
    files: dict[str, bytes] = field(default_factory=dict)
    large: frozenset[str] = frozenset()
    altered: dict[str, bytes] = field(default_factory=dict)
    stall_after: dict[str, int] = field(default_factory=dict)
    drop_after: dict[str, int] = field(default_factory=dict)
    token: str | None = None
    status: int = 200
    url: str = ""
    fetched: list[tuple[str, str | None]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def tree(self) -> list[dict]:
        rows = []
        for path, content in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            row = {"type": "file", "path": path, "size": len(content), "oid": blob}
            if path in self.large:
                row["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            rows.append(row)
        return rows


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if hub.status != 200:
                self._send(hub.status, b"{}")
            elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif path in (f"/api/models/{hub.name}", f"/api/models/{hub.name}/revision/main"):
                self._send(200, json.dumps({"id": hub.name, "sha": COMMIT}).encode())
            elif path == f"/api/models/{hub.name}/tree/{COMMIT}":
                self._send(200, json.dumps(hub.tree()).encode())
            elif path.startswith(f"/{hub.name}/resolve/{COMMIT}/"):
                self._file(path.partition(f"{COMMIT}/")[2])
            else:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def _file(self, name: str) -> None:
            content = hub.altered.get(name, hub.files[name])
            wanted = self.headers.get("Range")
            hub.fetched.append((name, wanted))
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if wanted else {}
            stall, drop = hub.stall_after.pop(name, None), hub.drop_after.pop(name, None)
            stop = stall or drop
            self._send(206 if wanted else 200, content[start:], headers, stop)
            if stall:
                hub.released.wait(30)
            if stop:
                self.close_connection = True

        def _send(
            self, status: int, body: bytes, headers: dict[str, str] | None = None, stop: int | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body[:stop])
            self.wfile.flush()

    return Handler


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve ``hub`` in a thread; ``hub.url`` is its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
