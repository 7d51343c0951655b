"""Scoring 2,000 scenarios of 100 events and writing their reports: within 20 s of processor time and 1 GiB, in a process of its own;
the page stays below 10 MB. On a quiet machine it takes half as long; ten seconds is the goal.

Run: pytest tests/bench/test_score_speed.py --benchmark-json=score.json
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from fobench import audio
from fobench.api.scenario import Expect, Scenario, Turn
from fobench.api.trace import Reply, Trace, Utterance
from fobench.api.types import NS_PER_MS as MS
from fobench.api.types import Event, EventKind
from fobench.storage import waveforms

SCENARIOS = 2_000
EVENTS = 100
LIMIT_S = 20.0  # of processor time: what other programs take does not count
LIMIT_BYTES = 1024**3
PAGE_BYTES = 10_000_000
PLACES = ("Paris", "Rome", "Oslo", "Lima", "Cairo", "Delhi", "Accra", "Quito", "Hanoi", "Seoul")
WORDS = (
    "the",
    "city",
    "that",
    "you",
    "ask",
    "about",
    "lies",
    "on",
    "a",
    "river",
    "and",
    "its",
    "name",
    "is",
    "well",
    "known",
)

REPORTERS = ("markdown", "html", "junit")
SCORE = """
import json, resource, sys, time
from pathlib import Path
from fobench.api import registry
from fobench.scoring.scorer import score_run
folder = Path(sys.argv[1])
results = score_run(folder)
taken = {"scoring": time.process_time()}
for name in sys.argv[2:]:
    begun = time.process_time()
    registry.create("reporters", name).write(results, folder)
    taken[name] = time.process_time() - begun
taken["all"] = time.process_time()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"n": results.total("accuracy_s2t").n, "peak": peak, "taken": taken}))
"""


def synthetic_trace(number: int, rng: random.Random) -> Trace:
    """A question asked until 2000 ms and answered by some forty words, with a tenth of the replies wrong or misheard."""
    place = rng.choice(PLACES)
    text = f"Number {number}: what is city {rng.randrange(10_000)} of this long and winding road called?"
    written = rng.choices(WORDS, k=40)
    reply = " ".join([*written, place if rng.random() < 0.9 else "nowhere"])
    heard = " ".join(word for word in reply.split() if rng.random() < 0.97)
    decided = 2000 + rng.randrange(200, 600)
    audible = decided + rng.randrange(300, 900)
    end = audible + rng.randrange(4000, 9000)
    return Trace(
        scenario=Scenario(
            f"q-{number}",
            "spoken_qa",
            number,
            (Turn(f"audio/{number}.flac", f"{number:064x}", text, f"speaker-{number % 40}"),),
            Expect((place, f"{place} city")),
            {"subject": f"subject-{number % 12}", "level": rng.choice(["easy", "medium"])},
        ),
        clock="virtual",
        costs="declared:bench",
        duration_ns=12_000 * MS,
        events=tuple(events(text, reply, decided, audible)),
        user=(Utterance(0, 500 * MS, 2000 * MS),),
        replies=(Reply(0, reply, audible * MS, audible * MS, end * MS, (end - audible) * MS, (end - audible) * MS),),
        routes={"t2t": f"It is {place}.", "a2t2t": f"It is {rng.choice([place, 'nowhere'])}."},
        judge={"reply": heard, "floor": text},
        measured={"dnsmos": {"ovrl": 3.0 + rng.random(), "sig": 3.5, "bak": 4.0, "p808": 3.6}},
        compute={"input_ns": rng.randrange(300, 600) * MS, "output_ns": rng.randrange(1000, 3000) * MS},
    )


def events(text: str, reply: str, decided: int, audible: int) -> list[Event]:
    words = reply.split()
    made = [Event(EventKind.TRANSCRIPT, {"text": text}, compute_ns=(decided - 50) * MS)]
    made.append(Event(EventKind.DECISION, {"action": "speak"}, compute_ns=decided * MS))
    made += [
        Event(EventKind.TOKEN, {"text": w + " ", "reply": 0}, compute_ns=(decided + 10 + i) * MS)
        for i, w in enumerate(words)
    ]
    packets = EVENTS - len(made)
    made += [
        Event(EventKind.AUDIO, {"reply": 0, "duration_ns": 80 * MS}, 80 * i * MS, (audible - 50 + 20 * i) * MS)
        for i in range(packets)
    ]
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run as `fobench run` leaves it, with a waveform of each recording; all recordings are one file under many names."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("bench") / "run"
    (folder / "audio").mkdir(parents=True)
    second = np.random.default_rng(0).normal(0, 0.1, (16_000, 2)).astype(np.float32)
    audio.save(folder / "audio/0.flac", second, 16_000)
    for i in range(1, SCENARIOS):
        (folder / f"audio/{i}.flac").hardlink_to(folder / "audio/0.flac")
    traces = [replace(synthetic_trace(i, rng), audio=f"audio/{i}.flac") for i in range(SCENARIOS)]
    (folder / "run.json").write_text(json.dumps({"version": 1, "scenarios": [trace.id for trace in traces]}))
    with (folder / "traces.jsonl").open("w") as file:
        file.writelines(json.dumps(trace.to_json()) + "\n" for trace in traces)
    for trace in traces:
        waveforms.append(folder, str(trace.audio), second)
    return folder


def test_two_thousand_scenarios(folder, benchmark):
    command = [sys.executable, "-c", SCORE, str(folder), *REPORTERS]

    def score():
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    found = benchmark.pedantic(score, rounds=1)
    page_bytes = (folder / "report.html").stat().st_size
    benchmark.extra_info["peak_mib"] = round(found["peak"] / 1024**2)
    benchmark.extra_info["page_mb"] = round(page_bytes / 1e6, 2)
    benchmark.extra_info["cpu_s"] = {name: round(seconds, 2) for name, seconds in found["taken"].items()}
    assert found["n"] == SCENARIOS
    assert found["peak"] < LIMIT_BYTES
    assert found["taken"]["all"] < LIMIT_S
    assert page_bytes < PAGE_BYTES
    page = (folder / "report.html").read_text()
    assert page.count('"link":"audio/') == SCENARIOS and "data:audio" not in page
