"""Who may connect to the server: paths, keys, origins of web pages, and the number of sessions."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from fobench.server.pcm_call import PcmRates

if TYPE_CHECKING:
    from websockets.http11 import Request

PATHS = ("/v1/realtime", "/realtime")
PCM_PATH = "/pcm"
KEY_PROTOCOL = "openai-insecure-api-key."  # sub-protocol by which a browser hands over its key


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused. `reason`: for the counters."""

    status: HTTPStatus
    reason: str
    text: str


def refusal(request: Request, key: str | None, origins: tuple[str, ...]) -> Refusal | None:
    """Why a connection is refused whatever the server does now; None: it is not."""
    path = urlsplit(request.path).path.rstrip("/")
    if path not in (*PATHS, PCM_PATH):
        text = f"There is nothing at this path. Connect to {PATHS[0]}, or to {PCM_PATH} with raw audio."
        return Refusal(HTTPStatus.NOT_FOUND, "path", text)
    if not _from_allowed_page(request, origins):
        text = "Pages of this origin are not allowed: start the server with --origin."
        return Refusal(HTTPStatus.FORBIDDEN, "origin", text)
    if key is not None and not any(hmac.compare_digest(k.encode(), key.encode()) for k in _keys(request)):
        return Refusal(HTTPStatus.UNAUTHORIZED, "key", "A key is needed: Authorization: Bearer KEY.")
    if path == PCM_PATH:
        try:
            pcm_rates(request)
        except ValueError as error:
            return Refusal(HTTPStatus.BAD_REQUEST, "rate", str(error))
    return None


def is_pcm(request: Request) -> bool:
    """Whether a request that is admitted is for raw audio."""
    return urlsplit(request.path).path.rstrip("/") == PCM_PATH


def pcm_rates(request: Request) -> PcmRates:
    """The rates of a request for raw audio. Raises ValueError where they cannot be served."""
    return PcmRates.of(dict(parse_qsl(urlsplit(request.path).query)))


def _from_allowed_page(request: Request, origins: tuple[str, ...]) -> bool:
    """Whether the request is from no page of a browser, from ours, or from one that is allowed.

    Ours is at the address that the request names as its host. A host's *name* could be anybody's that was made to lead here
    (DNS rebinding): it must be allowed, unless it is this machine's.
    """
    origin = request.headers.get("Origin")
    if origin is None or origin in origins:
        return True
    host = request.headers.get("Host", "")
    return urlsplit(origin).netloc == host and _is_literal(urlsplit(f"//{host}").hostname or "")


def _is_literal(name: str) -> bool:
    """Whether a host is an address, or this machine by name."""
    try:
        return bool(ip_address(name))
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _keys(request: Request) -> list[str]:
    """The keys that a request brings: in its header, or among its sub-protocols."""
    header = request.headers.get("Authorization", "")
    scheme, _, token = header.partition(" ")
    keys = [token.strip() if scheme.lower() == "bearer" else header.strip(), request.headers.get("api-key", "")]
    offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
    return keys + [name.strip().removeprefix(KEY_PROTOCOL) for name in offered if KEY_PROTOCOL in name]
