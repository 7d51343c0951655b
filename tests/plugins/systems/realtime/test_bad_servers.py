"""Whatever a live server does is told as that scenario's failure, and the next conversation is not harmed."""

import base64
import json
import socket
import struct
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from click.testing import CliRunner

from fobench.api import registry
from fobench.api.types import EventKind
from fobench.cli.main import main
from fobench.errors import SystemFailure
from fobench_plugins.systems.realtime import connection, system
from tests.support.live.played import MS, driver, play, question
from tests.support.live.socket_server import GA_SESSION, following, self_signed, tone

pytestmark = pytest.mark.usefixtures("short_tail")
TONE = base64.b64encode(tone(100)).decode()


@pytest.fixture
def failure(tmp_path):
    """Plays a question to a server with a script; gives the failure, which must be one."""

    def of(script, admit=None, **options):
        with following(script, admit) as (url, _):
            trace = play(driver(f"realtime:{url}", **options), question(tmp_path))
        assert trace.failure is not None
        return trace.failure

    return of


def after_a_piece(act):
    """A script that does `act` in the midst of a reply."""

    async def script(socket):
        await socket.greet()
        await socket.next("input_audio_buffer.append")
        await socket.begin_reply()
        await act(socket)
        await socket.listen()

    return script


async def hangs_up(socket):
    socket.raw.transport.abort()


async def closes(socket):
    await socket.raw.close(1012, "restart")


async def sends_garbage(socket):
    await socket.raw.send('{"type": "response.done", "response": ')


async def sends_deep_garbage(socket):
    await socket.raw.send("[" * 100_000)


async def sends_binary(socket):
    await socket.raw.send(b"\x00\xff" * 100)


async def sends_half_a_quantum(socket):
    await socket.audio(TONE[:-3] + "A")


async def sends_another_rate(socket):
    await socket.audio(tone(100, 48_000), sample_rate_hz=48_000)


async def ends_within_a_sample(socket):
    await socket.audio(tone(100)[:-1])
    await socket.end_reply()


async def reports_an_error(socket):
    await socket.send("error", error={"type": "server_error", "code": "E7", "message": "disk full"})


async def limits_in_session(socket):
    limits = [{"name": "requests", "limit": 100, "remaining": 0, "reset_seconds": 12.5}]
    await socket.send("rate_limits.updated", rate_limits=limits)
    await socket.send("error", error={"type": "requests", "code": "rate_limit_exceeded", "message": "Slow down."})


async def limits_a_response(socket):
    error = {"type": "invalid_request_error", "code": "rate_limit_exceeded"}
    await socket.end_reply("failed", status_details={"type": "failed", "error": error})


async def never_stops(socket):
    for _ in range(4_000):  # more than the connection holds
        await socket.audio(tone(100))


@pytest.mark.parametrize(
    ("act", "kind", "message"),
    [
        (hangs_up, "died", "ended the connection"),
        (closes, "died", "code 1012, restart"),
        (sends_garbage, "bad_event", "not JSON"),
        (sends_deep_garbage, "bad_event", "not JSON"),
        (sends_binary, "bad_event", "not JSON"),
        (sends_half_a_quantum, "bad_audio", "not base64"),
        (sends_another_rate, "bad_audio", "give output_rate_hz=48000"),
        (ends_within_a_sample, "bad_audio", "odd number of bytes"),
        (reports_an_error, "raised", "E7, disk full"),
        (limits_in_session, "raised", "requests of 100 used up, again in 12.5 s). Run fewer"),
        (limits_a_response, "raised", "rate_limit_exceeded. Run fewer"),
        (never_stops, "endless", "minutes of audio"),
    ],
)
def test_in_the_midst_of_a_reply(act, kind, message, failure, monkeypatch):
    monkeypatch.setattr(connection, "MOST_AUDIO_S", 3)
    found = failure(after_a_piece(act))
    assert found.kind == kind
    assert message in found.message


async def says_nothing(socket):
    await socket.listen()


async def refuses_at_once(socket):
    await socket.send("error", error="no such model", code="model_not_found")
    await socket.listen()


async def hears_another_rate(socket):
    await socket.greet(confirmed={"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}})
    await socket.listen()


async def hears_another_format(socket):
    await socket.greet(confirmed={"audio": {"output": {"format": {"type": "audio/pcmu"}}}})
    await socket.listen()


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        (says_nothing, "hung", "sent nothing for 0.3 s"),
        (refuses_at_once, "raised", "model_not_found, no such model"),
        (hears_another_rate, "bad_audio", "give rate_hz=16000"),
        (hears_another_format, "bad_audio", "give its format by audio="),
    ],
)
def test_before_the_conversation(script, kind, message, failure, monkeypatch):
    monkeypatch.setattr(system, "FIRST_S", 0.3)
    found = failure(script)
    assert (found.kind, message in found.message) == (kind, True), found.message


def test_a_socket_that_never_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "OPEN_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening:  # connections wait in its backlog
        trace = play(driver(f"realtime:ws://127.0.0.1:{listening.getsockname()[1]}"), question(tmp_path))
    assert "no answer within 0.3 s" in trace.failure.message


def refusing(status, header=None, times=1_000):
    """Answers the first `times` requests with an HTTP status; gives the function and the list of requests."""
    asked = []

    def admit(raw, request):
        asked.append(request)
        if len(asked) > times:
            return None
        response = raw.respond(status, "no\n")
        if header is not None:
            response.headers["Retry-After"] = header
        return response

    return admit, asked


def soon(seconds):
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("status", "header", "requests", "message"),
    [
        (401, None, 1, "HTTP 401, it wants a key: give api_key_env=NAME"),
        (404, None, 1, "give the whole address"),
        (500, None, 1, "see its log"),
        (429, "0.1", 2, "too many requests, also after waiting 0.1 s and asks to wait 0.1 s. Run fewer conversations"),
        (503, "0", 2, "it is overloaded, also after waiting 0 s"),
        (429, "120", 1, "asks to wait 120 s, longer than the 10 s that a scenario may wait"),
        (429, soon(3600), 1, "longer than the 10 s"),
        (429, soon(-5), 2, "also after waiting 0 s"),
    ],
)
def test_a_connection_that_is_refused(status, header, requests, message, failure):
    admit, asked = refusing(status, header)
    found = failure(says_nothing, admit)
    assert found.kind == "raised"
    assert message in found.message
    assert len(asked) == requests


async def one_reply(socket):
    await socket.greet()
    await socket.question()
    await socket.begin_reply(2)
    await socket.end_reply()
    await socket.listen()


def test_a_busy_server_is_waited_for_once(tmp_path):
    admit, asked = refusing(429, "0.2", times=1)
    with following(one_reply, admit) as (url, _):
        trace = play(driver(f"realtime:{url}"), question(tmp_path))
    assert trace.failure is None
    assert trace.replies[0].generated_ns == 200 * MS
    assert len(asked) == 2


@pytest.mark.parametrize("fragments", [False, True], ids=["one frame", "fragments"])
def test_a_message_of_100_megabytes_takes_no_memory(fragments, failure):
    size, piece = 100_000_000, b"x" * 1_000_000

    async def floods(socket):
        if fragments:
            await socket.raw.send(piece for _ in range(size // len(piece)))
        else:
            socket.raw.transport.write(b"\x81\x7f" + struct.pack("!Q", size) + piece)
        await socket.listen()

    tracemalloc.start()
    try:
        found = failure(after_a_piece(floods))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "message of more than 16,777,216 bytes" in found.message
    assert peak < 5 * connection.MESSAGE_BYTES


@pytest.mark.parametrize("times", [2, 1_000])
def test_a_server_whose_sessions_are_in_use_is_waited_for(times, tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "LONGEST_WAIT_S", 0.3)
    monkeypatch.setattr(system, "BUSY_S", 0.1)
    connections = []

    async def script(socket):
        connections.append(socket)
        if len(connections) <= times:
            await socket.send("error", error={"code": "session_limit_reached", "message": "1 of 1 in use"})
        else:
            await one_reply(socket)

    with following(script) as (url, _):
        trace = play(driver(f"realtime:{url}"), question(tmp_path))
    if times == 2:
        assert trace.failure is None
        assert len(connections) == 3
    else:
        assert "1 of 1 in use; also after waiting 0.3 s. Run fewer" in trace.failure.message
        assert len(connections) < 8


def test_what_comes_out_of_order_is_no_part_of_a_reply_and_is_told(tmp_path):
    async def script(socket):
        await socket.greet()
        await socket.question()
        await socket.audio(tone(100), "r0")  # before response.created
        await socket.begin_reply(2)
        await socket.send("response.mystery.delta", response_id="r0", delta="x")
        await socket.send("weather.updated", sky="blue")
        await socket.end_reply()
        await socket.audio(tone(100))
        await socket.audio(tone(100))
        await socket.listen()

    with following(script) as (url, _):
        trace = play(driver(f"realtime:{url}"), question(tmp_path))
    assert trace.failure is None
    assert [reply.generated_ns for reply in trace.replies] == [200 * MS]
    before, after = (e.data["text"] for e in trace.of(EventKind.BUSY) if e.data.get("work") == "out_of_order")
    assert "before its response.created" in before
    assert "after its response.done" in after


def test_the_next_conversation_is_not_harmed(tmp_path):
    connections = []

    async def script(socket):
        connections.append(socket)
        if len(connections) == 1:
            await after_a_piece(hangs_up)(socket)
        await one_reply(socket)

    with following(script) as (url, _):
        driven = driver(f"realtime:{url}")
        first, second = (play(driven, question(tmp_path)) for _ in range(2))
    assert first.failure.kind == "died"
    assert first.replies[0].text == "Paris."  # what came before is kept
    assert second.failure is None
    assert second.replies[0].generated_ns == 200 * MS


@pytest.mark.slow
@pytest.mark.subprocess
def test_a_run_goes_on_with_the_next_scenario_and_knows_what_it_cost(tmp_path):
    connections = []
    usage = {"input_tokens": 10, "output_tokens": 5, "output_token_details": {"audio_tokens": 5}}

    async def script(socket):
        connections.append(socket)
        await socket.greet()
        await socket.question(1000)
        await socket.begin_reply(2)
        if len(connections) == 2:  # the first is the warm-up
            await hangs_up(socket)
        await socket.end_reply(usage=usage)
        await socket.listen()

    spoken = question(tmp_path)
    lines = [{"id": name, "audio": spoken.audio, "text": "Which city?"} for name in ("one", "two", "three")]
    (tmp_path / "talk.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "prices.toml").write_text('currency = "X"\n[models."scripted-1"]\ninput = 1.0\naudio_output = 2.0\n')
    with following(script) as (url, _):
        suite = ("--suite", f"manifest:{tmp_path / 'talk.jsonl'}", "--judge", "none", "--no-text-routes")
        command = ["run", "--system", f"realtime:{url}", *suite, "--output", str(tmp_path / "run")]
        done = CliRunner().invoke(main, command)
    assert done.exit_code == 1, done.output
    traces = [json.loads(line) for line in (tmp_path / "run" / "traces.jsonl").read_text().splitlines()]
    assert [trace["failure"] and trace["failure"]["kind"] for trace in traces] == ["died", None, None]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["clock"] == "wall"
    priced = ["score", str(tmp_path / "run"), "--metric", "cost_per_minute", "--metric-args"]
    done = CliRunner().invoke(main, [*priced, f"prices={tmp_path / 'prices.toml'}"])
    assert done.exit_code == 0, done.output
    totals = json.loads((tmp_path / "run" / "scores.json").read_text())["totals"]
    cost = next(total for total in totals if total["metric"] == "cost_per_minute")
    assert cost["detail"]["cost"] == pytest.approx(2 * (10 * 1.0 + 5 * 2.0) / 1e6)
    assert (cost["n"], cost["detail"]["n_failed"]) == (2, 1)


def test_tls_certificates_are_verified(tmp_path, monkeypatch):
    context, certificate = self_signed(tmp_path)
    with following(one_reply, context=context) as (url, _):
        trace = play(driver(f"realtime:{url}"), question(tmp_path))
        assert "its TLS certificate is not verified" in trace.failure.message
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert play(driver(f"realtime:{url}"), question(tmp_path)).failure is None


async def writes_nothing(socket):
    await socket.send("session.created", session=GA_SESSION)
    await socket.next("response.create")
    await socket.send("response.created", response={"id": "r0"})
    await socket.listen()


async def writes_and_leaves(socket):
    await socket.send("session.created", session=GA_SESSION)
    await socket.next("response.create")
    await socket.raw.close(1011, "out of memory")


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [(writes_nothing, "hung", "no answer by text"), (writes_and_leaves, "died", "out of memory")],
)
def test_an_answer_by_text_that_does_not_come(script, kind, message, monkeypatch):
    monkeypatch.setattr(system, "ANSWER_S", 0.4)
    with following(script) as (url, _), pytest.raises(SystemFailure, match=message) as raised:
        registry.create("systems", f"realtime:{url}").answer([{"role": "user", "content": "Which city?"}], 0)
    assert raised.value.kind == kind
