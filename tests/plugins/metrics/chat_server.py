"""An OpenAI-compatible chat server on this machine, for one test: real HTTP, with planted answers and faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG = "hang"
DRIP = "drip"


@dataclass
class Planted:
    """What the server answers: a reply's text, or (status, headers, body); `HANG` or `DRIP` as the text."""

    answer: Callable[[dict[str, Any], int], str | tuple[int, dict[str, str], bytes]]
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)

    def judged(self) -> list[dict[str, Any]]:
        """The question, accepted answers and reply of each request."""
        return [json.loads(request["messages"][-1]["content"]) for request in self.requests]


def completion(text: object) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}).encode()


@contextmanager
def serving(answer: Callable[[dict[str, Any], int], Any]) -> Iterator[Planted]:
    """`answer` takes (what the judge is asked: question, accepted_answers, reply; the number of the request from 0)."""
    planted = Planted(answer)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(planted.requests)
                planted.requests.append(request)
                planted.headers.append(dict(self.headers))
            if self.path != "/v1/chat/completions":
                self.reply(404, {}, b"no such path")
                return
            found = planted.answer(json.loads(request["messages"][-1]["content"]), number)
            if found == HANG:
                planted.closed.wait(20)
            elif found == DRIP:
                self.drip()
            elif isinstance(found, str):
                self.reply(200, {}, completion(found))
            else:
                self.reply(*found)

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def drip(self) -> None:
            """A byte of the status line now and then, so that no single read takes long."""
            while not planted.closed.wait(0.05):
                try:
                    self.wfile.write(b"H")
                except OSError:
                    return

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    planted.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield planted
    finally:
        planted.closed.set()
        server.shutdown()
        server.server_close()
