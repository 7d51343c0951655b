"""`fobench load`: levels, their record and page, live servers, bad input, and what an interrupt leaves."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from fobench.cli.main import main
from fobench.execution import conversations
from fobench.load import levels
from fobench.load.load_report import LoadReport
from fobench.process_host import ProcessHost
from tests.support.live.realtime_server import serving
from tests.support.traces import qa_trace

RATE_HZ = 16_000


@pytest.fixture(autouse=True)
def brief(monkeypatch, short_tail):
    """Conversations begin soon after each other, and end soon after their last sound."""
    monkeypatch.setattr(conversations, "STAGGER_S", 0.05)


@pytest.fixture
def loading(tmp_path, home):
    """`loading(option, ...)`: the result of the command on two questions of 400 ms of tone, with its folder."""
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.cos(np.arange(RATE_HZ * 4 // 10) * 0.1), RATE_HZ, subtype="FLOAT")
    lines = [{"id": f"q{number}", "audio": "tone.wav"} for number in range(2)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    defaults = {"--suite": f"manifest:{tmp_path / 'questions.jsonl'}", "--output": str(tmp_path / "load")}

    def run(*options):
        given = [part for name, value in defaults.items() if name not in options for part in (name, value)]
        return CliRunner().invoke(main, ["load", *given, *options]), tmp_path / "load"

    return run


@pytest.mark.slow
def test_a_server_is_asked_by_several_at_once_and_its_failures_are_counted(loading):
    with serving(closes_after=12, closes_only=3) as server:  # connections: to warm up, one alone, two at once
        result, folder = loading("--system", f"realtime:{server.url}", "--sessions", "2,1", "--rounds", "1")
        assert (server.most_open, server.opened) == (2, 4)
    assert result.exit_code == 0, result.output
    record = json.loads((folder / "load.json").read_text())
    one, two = record["levels"]
    assert (record["status"], record["planned"], record["largest_in_real_time"]) == ("complete", [1, 2], 1)
    assert (one["sessions"], one["failed"], one["failures"], one["real_time"]) == (1, 0, {}, True)
    assert one["response_p50_ms"] == pytest.approx(200 + 300, abs=100)
    assert (two["conversations"], two["failed"], two["real_time"]) == (2, 1, False)
    assert two["failures"]["died"]["count"] == 1
    assert record["components"]["dialect"] == "GA"
    page = (folder / "load.html").read_text()
    for text in ("1 session keeps real time", "out of service", "<h2>Failures</h2>", "This system computes elsewhere"):
        assert text in page
    assert page.count("<svg") == 2
    assert "| 2 | died | 1 |" in (folder / "load.md").read_text()


@pytest.mark.slow
def test_an_interrupt_keeps_the_levels_that_are_complete(loading, monkeypatch):
    measure, counts = levels.measure, []

    def measured(drivers, *others):
        counts.append(len(drivers))
        if len(drivers) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return measure(drivers, *others)

    monkeypatch.setattr(levels, "measure", measured)
    system = ("--system", "scripted:late", "--system-args", "reply_ms=200")
    result, folder = loading(*system, "--sessions", "1,2,3", "--rounds", "1")
    assert (result.exit_code, counts) == (130, [1, 1, 2])
    assert "keeps 1 level of 3" in result.stderr
    assert "Interrupted." in result.stderr
    record = json.loads((folder / "load.json").read_text())
    assert (record["status"], [level["sessions"] for level in record["levels"]]) == ("interrupted", [1])
    assert "2 levels of 3 not measured (interrupted)" in (folder / "load.html").read_text()


def test_an_interrupt_while_the_system_loads_leaves_no_process(loading, monkeypatch):
    begin, hosts = ProcessHost.start, []

    def started(host):
        begin(host)
        hosts.append(host)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ProcessHost, "start", started)
    result, folder = loading("--system", "scripted:late", "--sessions", "1", "--rounds", "1")
    assert (result.exit_code, folder.exists()) == (130, False)
    hosts[0]._process.join(5)
    assert not hosts[0]._process.is_alive()


WRONG = {
    "an unknown system": (("--system", "scripted:lat"), "Did you mean 'scripted:late'"),
    "an unknown suite": (("--suite", "spoken"), "Unknown suite 'spoken'"),
    "an unknown option of the system": (("--system-args", "speed=3"), "Unknown option of system"),
    "an option of the wrong type": (("--system-args", "delay_ms=soon"), "delay_ms='soon'"),
    "no sessions": (("--sessions", "0"), "no list of numbers from 1"),
    "an empty list of sessions": (("--sessions", ""), "no list of numbers from 1"),
    "a half session": (("--sessions", "1,1.5"), "no list of numbers from 1"),
    "too many sessions": (("--sessions", "1,1001"), "no list of numbers from 1 to 1,000"),
    "no rounds": (("--rounds", "0"), "--rounds"),
    "no scenario": (("--suite", "controls", "--suite-args", "count=0"), "count"),
    "a file as output": (("--output", "{file}"), "is a file"),
    "a measurement as output": (("--output", "{taken}"), "holds another measurement (load.json)"),
    "a run as output": (("--output", "{run}"), "holds another measurement (run.json)"),
    "no address": (("--system", "realtime"), "url"),
    "a wrong address": (("--system", "realtime:ftp://host"), "is no address of a server"),
    "a variable that is not set": (
        ("--system", "realtime:ws://127.0.0.1:1", "--system-args", "api_key_env=FOBENCH_NO_SUCH"),
        "FOBENCH_NO_SUCH",
    ),
    "no server there": (("--system", "realtime:ws://127.0.0.1:1"), "does not hold a single conversation"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_told_and_leaves_nothing(loading, tmp_path, name):
    places = {key: tmp_path / key for key in ("file", "taken", "run")}
    places["file"].touch()
    for key, file in (("taken", "load.json"), ("run", "run.json")):
        places[key].mkdir()
        (places[key] / file).touch()
    options, message = WRONG[name]
    system = () if "--system" in options else ("--system", "scripted:late")
    result, folder = loading(*system, *(option.format(**places) for option in options))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (folder / "load.json").exists()


def test_underruns_are_counted_by_reply():
    level = levels.LoadLevel(1, [qa_trace("a"), qa_trace("b")])
    replies = sum(len(trace.replies) for trace in level.traces)
    underruns = sum(len(reply.underruns) for trace in level.traces for reply in trace.replies)
    assert level.summary()["gaps_per_reply"] == round(underruns / replies, 3)
    assert level.summary()["failures"] == {}


def summary(sessions, real_time):
    return {**levels.LoadLevel(sessions, [qa_trace("a")]).summary(), "real_time": real_time}


def test_the_verdict_names_what_was_not_tried():
    report = LoadReport("my <agent>", "spoken-qa", {}, False, [1, 2, 4])
    assert report.verdict() == "Nothing is measured yet."
    report.levels, report.largest = [summary(1, True)], 1
    expected = (
        "1 session keeps real time on this machine (the most that was tried). 2 levels of 3 not measured (running)."
    )
    assert report.verdict() == expected
    report.levels, report.largest, report.status = [summary(n, n == 1) for n in (1, 2, 4)], 1, "complete"
    assert report.verdict() == "1 session keeps real time on this machine."
    report.largest = 0
    assert report.verdict() == "Not one session keeps real time on this machine."
    assert "my &lt;agent&gt;" in report.page() and "<agent>" not in report.page()
