"""A client of OpenAI-compatible chat endpoints: one request per conversation, with a time limit, retries and no redirects."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from email.message import Message as Headers
from typing import Any
from urllib.parse import SplitResult, urlsplit

from fobench import outside_files
from fobench.api.plain_data import plain_text
from fobench.api.types import Message
from fobench.errors import FobenchError, PrerequisiteError, describe_error
from fobench.formatting import one_line

PATH = "/chat/completions"
ANSWER_BYTES = 1 << 20  # of one answer of the endpoint, at most
MAX_TOKENS = 1024  # of a reply: one word, after the thoughts of a reasoning model
LONGEST_PAUSE_S = 60.0  # before a retry, whatever the endpoint asks for
FAILURES_IN_A_ROW = 20  # requests without an answer, after which the endpoint is given up
EXCERPT = 200  # characters of an endpoint's error message that are recorded


class Unanswered(Exception):
    """A request without an answer; the message is the recorded reason. `pause_s`: when to try again, None for never."""

    def __init__(self, problem: str, pause_s: float | None = None) -> None:
        super().__init__(problem)
        self.pause_s = pause_s


class ChatEndpoint:
    """The model `model` at the base URL `base`, e.g. https://HOST/v1. `ask` is thread-safe.

    The API key is the value of the environment variable `key_variable`; without one, none is sent. It goes to no other host
    (redirects are failures) and into no record. Raises `FobenchError` for a URL or a key that cannot be used.
    """

    def __init__(
        self, base: str, model: str, *, key_variable: str, time_limit_s: float, retries: int, backoff_s: float
    ) -> None:
        parts = checked_url(base)
        self.host = parts.netloc
        self._url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(PATH)}{PATH}"
        self._model = model
        self._key = read_key(key_variable, parts)
        self._time_limit_s, self._retries, self._backoff_s = time_limit_s, retries, backoff_s
        direct = [urllib.request.ProxyHandler({})] if _is_loopback(parts) else []
        self._opener = urllib.request.build_opener(_NoRedirect, *direct)
        self._stopped = threading.Event()
        self._failures = 0  # in a row; a race of two threads only shifts the count

    def ask(self, messages: Sequence[Message]) -> str:
        """The model's reply at temperature 0. Raises `Unanswered`."""
        wanted = {"model": self._model, "messages": list(messages), "temperature": 0, "max_tokens": MAX_TOKENS}
        body = json.dumps(wanted).encode()
        if self._failures >= FAILURES_IN_A_ROW:
            raise Unanswered(f"the endpoint gave no answer {FAILURES_IN_A_ROW} times in a row; it was not asked again")
        try:
            text = self._persist(body)
        except Unanswered:
            self._failures += 1
            raise
        self._failures = 0
        return text

    def stop(self) -> None:
        """Ends all waiting: requests in progress fail."""
        self._stopped.set()

    def _persist(self, body: bytes) -> str:
        """Tries until there is an answer, an error that a retry does not help, or no retry is left."""
        for tried in range(1, self._retries + 2):
            try:
                return reply_text(self._within_limit(lambda: self._post(body)))
            except Unanswered as error:
                if error.pause_s is None:
                    raise
                if tried > self._retries:
                    raise Unanswered(f"{error} ({tried} {'tries' if tried > 1 else 'try'})") from error
                self._stopped.wait(min(max(error.pause_s, self._backoff_s * 2 ** (tried - 1)), LONGEST_PAUSE_S))
        raise AssertionError("the last try returns or raises")

    def _within_limit(self, call: Callable[[], bytes]) -> bytes:
        """Runs `call` in a thread that is left behind at the time limit: a server may send its answer byte by byte."""
        done: queue.SimpleQueue[bytes | Unanswered] = queue.SimpleQueue()

        def run() -> None:
            try:
                done.put(call())
            except Unanswered as error:
                done.put(error)
            except Exception as error:
                done.put(Unanswered(self._without_key(f"the endpoint cannot be asked: {describe_error(error)}")))

        threading.Thread(target=run, daemon=True).start()
        deadline = time.monotonic() + self._time_limit_s
        while not self._stopped.is_set() and (left := deadline - time.monotonic()) > 0:
            try:
                found = done.get(timeout=min(left, 0.2))
            except queue.Empty:
                continue
            if isinstance(found, Unanswered):
                raise found
            return found
        raise Unanswered("stopped" if self._stopped.is_set() else f"no answer within {self._time_limit_s:g} s")

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "fobench"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._time_limit_s) as response:
                content: bytes = response.read(ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from error
        except TimeoutError as error:
            raise Unanswered(f"no answer within {self._time_limit_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", error)
            problem = f"the endpoint cannot be reached: {one_line(why) or type(why).__name__}"
            raise Unanswered(self._without_key(problem)[:EXCERPT], 0.0) from error
        if len(content) > ANSWER_BYTES:
            raise Unanswered(f"the endpoint's answer is larger than {ANSWER_BYTES:,} bytes")
        return content

    def _refused(self, error: urllib.error.HTTPError) -> Unanswered:
        """The failure of an HTTP status; 429 and 5xx may be tried again."""
        try:
            said = one_line(error.read(1 << 16).decode(errors="replace"))
        except (OSError, http.client.HTTPException):
            said = ""
        problem = self._without_key(f"HTTP {error.code}{': ' if said else ''}{said}")[:EXCERPT]
        again = error.code == 429 or error.code >= 500
        return Unanswered(problem, _retry_after(error.headers) if again else None)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would send the key and the texts to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def checked_url(base: str) -> SplitResult:
    """The parts of an endpoint's base URL. Raises `FobenchError` for one that is not HTTP, or holds more than host and path."""
    fix = "write it as https://HOST/v1, with the key in an environment variable"
    try:
        parts = urlsplit(base)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an address that is none
        usable = False
    if not usable or not base.isascii() or not base.isprintable() or " " in base:
        raise FobenchError(f"endpoint={one_line(base)!r} is not the base URL of an OpenAI-compatible server: {fix}.")
    if parts.username is not None or parts.query or parts.fragment:
        raise FobenchError(f"endpoint= holds a user name, a query or a fragment, which may be secret: {fix}.")
    return parts


def read_key(variable: str, parts: SplitResult) -> str:
    """The API key in an environment variable; empty without one.

    Raises `PrerequisiteError` for a key that no header can hold, or that would be sent over a network unencrypted.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise PrerequisiteError(f"The API key in {variable} holds characters that no key has: set {variable} again.")
    if key and parts.scheme == "http" and not _is_loopback(parts):
        raise PrerequisiteError(
            f"The API key in {variable} would be sent to {parts.netloc} unencrypted: use https, or send none"
            " (--metric-args key_variable=)."
        )
    return key


def reply_text(content: bytes) -> str:
    """The text of a chat completion. Raises `Unanswered` for anything else."""
    try:
        text = outside_files.parse_json(content)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        text = None
    if not isinstance(text, str):
        raise Unanswered("the endpoint's answer is not a chat completion")
    return plain_text(text)


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _retry_after(headers: Headers) -> float:
    """The seconds that the endpoint asks to wait; 0 if it does not say."""
    asked = str(headers.get("Retry-After") or "").strip()
    return float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0.0
