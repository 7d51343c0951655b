"""Runs in the layout of Full-Duplex-Bench, and its metrics on hand-made cases. All times in ms."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from fobench import audio
from fobench.api import registry
from fobench.api.results import Results
from fobench.api.types import NS_PER_MS as MS
from fobench.api.types import Event, EventKind
from fobench_plugins.reporters import full_duplex_bench as theirs
from tests.support.traces import duplex_trace

RATE = 16_000
INTERRUPTED = (("question", 500, 2000), ("interrupt", 4000, 5500))


def packets(words, reply=0):
    return [
        Event(EventKind.AUDIO, {"reply": reply, "text": w, "duration_ns": (b - a) * MS}, a * MS, a * MS, a * MS)
        for w, a, b in words
    ]


def said(*words, user=(("question", 500, 2000),), stop=None, family=None):
    """A trace in which one packet voices `words` (text, from, to); heard until `stop`."""
    start, end = (words[0][1], words[-1][2]) if words else (0, 0)
    trace = duplex_trace(user, [(start, stop or end)] if words else [])
    trace = replace(trace, events=tuple(packets(words)), judge={"reply": " ".join(word for word, _, _ in words)})
    return in_family(trace, family) if family else trace


def in_family(trace, family):
    return replace(trace, scenario=replace(trace.scenario, expect=replace(trace.scenario.expect, family=family)))


def interrupted(answer_at, stop=4600):
    """A reply from 2700 that is stopped during the interruption (4000 to 5500), and the answer to it."""
    trace = duplex_trace(INTERRUPTED, [(2700, stop), (answer_at, answer_at + 2000)], yields=[stop])
    first = packets([("it", 2700, 3500), ("is", 3500, 4500), ("so", 4500, 5000)])
    second = packets([("now", answer_at, answer_at + 1000), ("this", answer_at + 1000, answer_at + 2000)], reply=1)
    return replace(trace, events=(*first, *trace.events, *second))


CASES = {  # TOR and latency, s
    "nothing": (said(), False, None),
    "a murmur": (said(("mhm", 2700, 3000)), False, None),
    "just short of a second": (said(("well", 2700, 3200), ("yes", 3200, 3699)), False, None),
    "a second": (said(("well", 2700, 3200), ("yes", 3200, 3700)), True, 0.7),
    "four quick words": (said(*((w, 2700 + 100 * i, 2800 + 100 * i) for i, w in enumerate("abcd"))), True, 0.7),
    "three quick words": (said(*((w, 2700 + 100 * i, 2800 + 100 * i) for i, w in enumerate("abc"))), False, None),
    "too early": (said(("well", 1500, 2200), ("yes", 2200, 3000)), True, 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_tor_of_both_definitions_agrees(case):
    trace, taken, latency = CASES[case]
    assert theirs.takes_over(list(theirs.chunks(trace))) is taken
    assert registry.create("metrics", "takeover_rate").score(trace, trace.scenario).value == float(taken)
    assert theirs.task_metrics([trace])["latency_s"] == latency


def test_the_latency_is_response_ms_but_for_what_came_too_early():
    metric = registry.create("metrics", "response_ms")
    in_time, early = CASES["a second"][0], CASES["too early"][0]
    assert metric.score(in_time, in_time.scenario).value == 700.0
    found = theirs.task_metrics([in_time, early])
    assert (found["n"], found["tor"], found["latency_s"], found["early"]) == (2, 1.0, 0.35, 1)


def test_the_latency_of_an_interruption_counts_from_its_end():
    """The rest of the interrupted reply, audible until 4600, is no reply to the interruption that ends at 5500."""
    found = theirs.task_metrics([interrupted(7040) for _ in range(3)])
    assert (found["tor"], found["latency_s"], found["early"]) == (1.0, 1.54, 0)


@given(st.integers(5901, 9000), st.integers(4100, 5400))
def test_what_is_said_before_the_end_of_an_interruption_never_changes_its_latency(answer_at, stop):
    found = theirs.task_metrics([interrupted(answer_at, stop)])
    assert found["latency_s"] == pytest.approx((answer_at - 5500) / 1000, abs=1e-4)
    assert found["stop_latency_s"] == pytest.approx((min(stop, 5500) - 4000) / 1000, abs=1e-4)


def test_a_system_that_talks_through_the_interruption_has_no_latency():
    """A word that lies across the end begins there, as in their cropped recording."""
    trace = said(("on", 2700, 5000), ("and", 5000, 6000), ("on", 6000, 7000), user=INTERRUPTED)
    found = theirs.task_metrics([trace])
    assert (found["tor"], found["latency_s"]) == (1.0, 0.0)
    assert [word.start_s for word in theirs.scored_words(trace)] == [5.5, 6.0]


def test_stop_and_response_latency_of_overlapping_audio():
    """The reply of 2700 to 4600 overlaps the interruption by 600 ms; the answer comes 1040 ms after it, the first after 700."""
    trace = interrupted(6540)
    assert list(theirs.stop_latencies_s(trace)) == [0.6]
    assert theirs.response_latencies_s(trace) == [0.7, 1.04]
    kept = duplex_trace((("question", 500, 2000), ("backchannel", 4000, 4300)), [(2700, 9000)])
    assert list(theirs.stop_latencies_s(kept)) == [0.3]
    assert theirs.task_metrics([said()])["stop_latency_s"] is None


def test_a_reply_after_the_users_turn_is_no_takeover_of_a_pause():
    user = (("fragment", 500, 1500), ("question", 2700, 4000))
    waits, breaks_in = (said(("yes", at, at + 1500), user=user, family="pause") for at in (4700, 1700))
    assert theirs.task_metrics([waits])["tor"] == 0.0
    assert theirs.task_metrics([breaks_in])["tor"] == 1.0


def test_listening_to_the_end_is_no_takeover():
    silent, replies_after, talks = said(family="listening"), said(("so", 2600, 4000), family="listening"), None
    talks = said(("but", 900, 2600), family="listening")
    found = [theirs.task_metrics([trace])["tor"] for trace in (silent, replies_after, talks)]
    assert found == [0.0, 0.0, 1.0]
    metric = registry.create("metrics", "turn_success")
    assert [metric.score(t, t.scenario).value for t in (silent, replies_after, talks)] == [1.0, 1.0, 0.0]


def test_what_a_stop_cut_off_was_not_heard():
    trace = said(("one", 2700, 3200), ("two", 3200, 3700), ("three", 3700, 4200), stop=3500)
    heard = list(theirs.chunks(trace))
    assert [chunk.text for chunk in heard] == ["one", "two"]
    assert heard[-1].end_s == 3.5


def test_what_a_stop_dropped_stays_unheard_when_the_reply_goes_on_later():
    trace = said(("one", 2700, 3200), ("two", 3200, 3700), ("three", 5000, 5500))
    stopped = Event(EventKind.DECISION, {"action": "yield"}, None, 3000 * MS)
    made = [replace(event, compute_ns=2600 * MS) for event in trace.events[:2]]
    trace = replace(trace, events=(*made, stopped, trace.events[2]))
    assert [(c.text, c.end_s) for c in theirs.chunks(trace)] == [("one", 3.0), ("three", 5.5)]


def test_a_system_that_does_not_say_what_it_voices_has_no_tor():
    trace = replace(said(("one", 2700, 3200)), events=())
    found = theirs.task_metrics([trace, said()])
    assert (found["n"], found["wordless"], found["tor"], found["latency_s"]) == (1, 1, 0.0, None)
    assert theirs.task_metrics([trace])["tor"] is None


def test_a_question_that_was_not_reached_is_counted():
    found = theirs.task_metrics([replace(said(), user=())])
    assert (found["n"], found["not_asked"], found["tor"]) == (0, 1, None)


def run(tmp_path, *traces, **tags):
    """Writes a run of traces, each named `id`; returns the folder of the export."""
    both = np.zeros((10 * RATE, 2), np.float32)
    both[:, 1] = 0.1
    soundfile.write(tmp_path / "one.wav", both, RATE)
    named = [replace(t, audio="one.wav", scenario=replace(t.scenario, tags=tags)) for t in traces]
    summary = theirs.FullDuplexBenchReporter().write(Results(tmp_path, {}, named, [[]] * len(named), []), tmp_path)
    assert summary == tmp_path / "full-duplex-bench" / "summary.json"
    return summary.parent


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_a_run_is_written_as_their_folders(tmp_path):
    trace = said(("well", 2700, 3200), ("yes", 3200, 3700))
    trace = replace(trace, scenario=replace(trace.scenario, id="turn_taking/7"))
    export = run(tmp_path, trace, task="candor_turn_taking")
    folder = export / "candor_turn_taking" / "7"
    assert read(folder, "output.json") == {
        "text": "well yes",
        "chunks": [{"text": "well", "timestamp": [2.7, 3.2]}, {"text": "yes", "timestamp": [3.2, 3.7]}],
    }
    assert read(folder, "turn_taking.json") == [{"text": "[TURN-TAKING]", "timestamp": [2.0, 2.0]}]
    assert len(soundfile.read(folder / "output.wav")[0]) == len(soundfile.read(folder / "input.wav")[0]) == 10 * RATE
    assert read(export, "summary.json")["candor_turn_taking"]["tor"] == 1.0


def test_an_interruption_is_annotated_for_both_versions(tmp_path):
    folder = (
        run(tmp_path, interrupted(7040), task="synthetic_user_interruption") / "synthetic_user_interruption" / "d-1"
    )
    (told,) = read(folder, "interrupt.json")
    assert (told["timestamp"], told["context"], told["interrupt"]) == (
        [4.0, 5.5],
        *[interrupted(7040).scenario.turns[0].text] * 2,
    )
    assert read(folder, "metadata.json")["timestamps"] == [4.0, 5.5]
    assert [word["timestamp"] for word in read(folder, "output.json")["chunks"]] == [[7.04, 8.04], [8.04, 9.04]]
    assert not (folder / "turn_taking.json").exists()


def test_a_pause_is_annotated_and_what_follows_the_turn_is_cut(tmp_path):
    user = (("fragment", 500, 1500), ("question", 2700, 4000))
    folder = run(tmp_path, said(("yes", 4700, 6200), user=user, family="pause")) / "pause" / "d-1"
    assert read(folder, "pause.json") == [{"text": "[PAUSE]", "timestamp": [1.5, 2.7]}]
    assert read(folder, "output.json") == {"text": "", "chunks": []}
    assert len(soundfile.read(folder / "output.wav")[0]) == 4 * RATE


HOSTILE = [
    "",
    ".",
    "..",
    "../../x",
    "/etc/x",
    "a/../../b",
    "a\0b",
    "x" * 400,
    "CON",
    "Con",
    "a b",
    "é",
    "問題",
    "\ud800",
]


@given(st.lists(st.tuples(st.sampled_from(HOSTILE), st.sampled_from(HOSTILE)), min_size=1, max_size=6, unique=True))
def test_no_tag_and_no_id_leads_out_of_the_export_or_onto_another_sample(tmp_path_factory, cases):
    tmp_path = tmp_path_factory.mktemp("export")
    traces = [
        replace(trace, scenario=replace(trace.scenario, id=f"{task}/{name}", tags={"task": task}))
        for task, name in cases
        for trace in [said(("one", 2500, 2800))]
    ]
    traces = list({trace.id: trace for trace in traces}.values())
    results = Results(tmp_path / "deep/run", {}, traces, [], [], {})
    summary = theirs.FullDuplexBenchReporter().write(results, tmp_path / "deep/run")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(summary.parent) for path in written)
    assert sum(path.name == "output.json" for path in written) == len(traces)
    lowered = {str(path).lower() for path in written}
    assert len(lowered) == len(written)


@pytest.mark.parametrize("name", ["../secret.flac", "{}/secret.flac", "link.flac"])
def test_audio_outside_of_the_run_is_not_exported(tmp_path, name):
    (tmp_path / "run").mkdir()
    audio.save(tmp_path / "secret.flac", np.zeros((160, 2), np.float32), 16_000)
    (tmp_path / "run/link.flac").symlink_to(tmp_path / "secret.flac")
    trace = replace(said(("one", 2500, 2800)), audio=name.format(tmp_path))
    theirs.FullDuplexBenchReporter().write(Results(tmp_path / "run", {}, [trace], [], [], {}), tmp_path / "run")
    assert list((tmp_path / "run").rglob("*.wav")) == []
