"""The chat endpoint's client: any answer of a server is a text or a failure of that request, any URL is usable or refused."""

import json
import os
import time
from contextlib import suppress
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.errors import FobenchError
from fobench_plugins.metrics.chat_endpoint import ChatEndpoint, Unanswered, checked_url, reply_text
from tests.plugins.metrics.chat_server import HANG, completion, serving

PLAIN = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "message", "content", "other"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ASKED = [{"role": "system", "content": "Rules"}, {"role": "user", "content": '{"reply": "Rome."}'}]


def client(url, **settings):
    options = {"key_variable": "", "time_limit_s": 5.0, "retries": 0, "backoff_s": 0.0, **settings}
    return ChatEndpoint(url, "small", **options)


@given(PLAIN.map(lambda data: json.dumps(data).encode()) | st.binary(max_size=40))
def test_any_body_is_a_text_or_a_failure(body):
    with suppress(Unanswered):
        assert isinstance(reply_text(body), str)


@given(st.text(max_size=30))
def test_the_text_of_a_completion_is_read_as_it_is(text):
    assert reply_text(completion(text)) == text


def test_half_a_character_becomes_one_that_can_be_recorded():
    assert reply_text(completion("CORRECT\ud800")) == "CORRECT\ufffd"


@given(st.text(max_size=12), st.text(max_size=12), st.sampled_from(["https", "http", "HTTPS", "ftp", "file", ""]))
def test_any_url_is_usable_or_refused(host, path, scheme):
    with suppress(FobenchError):
        parts = checked_url(f"{scheme}://{host}/{path}")
        assert parts.scheme in ("http", "https")
        assert parts.hostname
        assert "@" not in parts.netloc


@pytest.mark.parametrize("path", ["", "/", "/chat/completions", "/chat/completions/"])
def test_the_base_url_may_hold_the_whole_path(path):
    with serving(lambda asked, number: "CORRECT") as server:
        assert client(server.url + path).ask(ASKED) == "CORRECT"


@given(st.integers(400, 599), st.binary(max_size=30))
def test_a_status_is_tried_again_if_that_may_help(planted_server, status, body):
    planted_server.answer = lambda asked, number: (status, {}, body)
    planted_server.requests.clear()
    with pytest.raises(Unanswered, match=f"HTTP {status}"):
        client(planted_server.url, retries=1).ask(ASKED)
    assert len(planted_server.requests) == 1 + (status == 429 or status >= 500)


@pytest.fixture(scope="module")
def planted_server():
    with serving(lambda asked, number: "CORRECT") as server:
        yield server


def test_pauses_grow_and_keep_to_what_the_endpoint_asks_for():
    """0.1 s, 0.2 s, then the 1 s asked for."""
    times = []

    def answer(asked, number):
        times.append(time.monotonic())
        return "CORRECT" if number == 3 else (429, {"Retry-After": "1"} if number == 2 else {}, b"")

    with serving(answer) as server:
        assert client(server.url, retries=3, backoff_s=0.1).ask(ASKED) == "CORRECT"
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert all(pause >= least for pause, least in zip(pauses, (0.1, 0.2, 1.0), strict=True))


def test_stopping_ends_a_request_that_hangs():
    with serving(lambda asked, number: HANG) as server:
        asking = client(server.url, time_limit_s=60.0)
        asking.stop()
        start = time.monotonic()
        with pytest.raises(Unanswered, match="stopped"):
            asking.ask(ASKED)
        assert time.monotonic() - start < 5


@given(st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=12), st.integers(0, 300))
def test_a_key_is_sent_as_it_is_or_refused_unshown(planted_server, key, before):
    key = f"sk-secret{key}end"
    planted_server.answer = lambda asked, number: (403, {}, f"{'x' * before} {key}".encode())
    planted_server.headers.clear()
    with patch.dict(os.environ, {"MY_KEY": key}):
        try:
            client(planted_server.url, key_variable="MY_KEY").ask(ASKED)
        except (FobenchError, Unanswered) as error:
            assert "sk-sec" not in str(error)
    assert all(headers["Authorization"] == f"Bearer {key}" for headers in planted_server.headers)
