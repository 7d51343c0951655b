"""Hand-made results for the reporters' tests: 12 scenarios of a cascade, one failed, one without a reply, one hostile.

As a script it writes every report of them into a folder to look at: python tests/support/results_sample.py FOLDER [SCENARIOS]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from fobench import audio
from fobench.api.results import Results
from fobench.api.scenario import Expect, Scenario, Turn
from fobench.api.trace import Failure, Reply, Trace, Underrun, Utterance
from fobench.api.types import NS_PER_MS, NS_PER_S, Event, EventKind, Samples, Score
from fobench.statistics.proportions import wilson
from fobench_plugins.metrics.latency import median_of_all

RATE_HZ = 16_000
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"quoted\" 'single' & \u2028 🙂 \x00\x1b[31m"
RTL = "\u202eמה בירת צרפת?"


@dataclass(frozen=True)
class Case:
    """A question, what became of it, and how late the reply came. `heard` None: no reply."""

    id: str
    subject: str
    level: str
    question: str
    answer: str
    wrote: str
    heard: str | None
    right: tuple[bool, bool, bool, bool]  # t2t, a2t2t, s2t, s2s
    response_ms: int = 1300
    understood: str | None = None
    failure: Failure | None = None
    early_stop: bool = False  # the user interrupts and the system yields
    gap_ms: int = 0


YES = (True, True, True, True)
CASES = (
    Case("geography-01", "geography", "easy", "Which city serves as the capital of France?", "Paris",
         "The capital of France is Paris, on the river Seine.", "The capital of France is Paris on the river sane.", YES, 1180),
    Case("animals-01", "animals", "easy", "What sweet food do bees make in their hives?", "honey",
         "Bees make honey in their hives.", "bees make honey in their hives", YES, 1020),
    Case("space-01", "space", "easy", "Which star does the Earth travel around?", "the Sun",
         "The Earth travels around the Sun.", "The earth travels around the son.", (True, True, True, False), 1240),
    Case("history-02", "history", "hard", "In which year did the Berlin Wall fall?", "1989",
         "The Berlin Wall fell in 1961.", "The Berlin Wall fell in 1961.", (True, False, False, False), 1660,
         "In which year did the Berlin Ball fall?"),
    Case("physics-03", "physics", "hard", "What is the unit of electrical resistance?", "ohm",
         "It is measured in ohms.", "it is measured in ohms", YES, 980),
    Case("animals-04", "animals", "hard", "Which animal is known for the longest migration of any mammal?", "whale",
         "The gray whale makes it.", "the gray whale makes it", YES, 2250, gap_ms=380),
    Case("space-05", "space", "hard", "Which planet has the most moons?", "Saturn",
         "Saturn has the most known moons, one hundred and forty six of them, and more are found each year.",
         "saturn has the most known moons", YES, 1410, early_stop=True),
    Case("history-06", "history", "easy", "Who was the first president of the United States?", "George Washington",
         "George Washington was the first president.", "george washington was the first president", YES, -240),
    Case("geography-07", "geography", "hard", "Which river flows through Vienna and Budapest?", "Danube", "", None,
         (True, True, False, False)),
    Case("physics-08", "physics", "easy", "At how many degrees Celsius does water boil?", "100", "", None,
         (True, True, False, False), failure=Failure("raised", "RuntimeError: out of memory in layer 12\x1b[0m <oom>")),
    Case("hostile-<b>09</b>", "</select><b>", "easy", HOSTILE, "<i>answer</i>", HOSTILE, HOSTILE,
         (False, False, False, False), 1550, HOSTILE),
    Case("rtl-10", "geography", "hard", RTL, "Paris", "Paris 🙂", "paris", YES, 1330, RTL),
)  # fmt: skip


def sample(folder: Path, count: int = len(CASES)) -> Results:
    """Results of `count` scenarios (the cases over and over), with their audio files in `folder`."""
    cases = [_numbered(case, i) for i, case in enumerate(islice(cycle(CASES), count))]
    traces = [_trace(case, i, folder) for i, case in enumerate(cases)]
    scores = [_scores(case, trace) for case, trace in zip(cases, traces, strict=True)]
    return Results(folder, _run(count), traces, scores, _totals(cases, traces))


def _numbered(case: Case, i: int) -> Case:
    return case if i < len(CASES) else replace(case, id=f"{case.id}-{i}", response_ms=case.response_ms + 7 * (i % 90))


def _trace(case: Case, i: int, folder: Path) -> Trace:
    end = NS_PER_S // 2 + min(60, len(case.question)) * 60 * NS_PER_MS
    said = [Utterance(0, NS_PER_S // 2, end)]
    turns = [Turn("question.flac", "0" * 64, case.question, "speaker-1", "question")]
    scenario = Scenario(
        case.id, "spoken-qa", i, tuple(turns), Expect((case.answer,)), {"subject": case.subject, "level": case.level}
    )
    if case.failure:
        return Trace(scenario, "virtual", "measured", end, user=tuple(said), failure=case.failure)
    events, replies = _reply(case, end)
    if case.early_stop:
        turns.append(Turn("stop.flac", "0" * 64, "Stop, thank you.", "speaker-1", "stop"))
        scenario = replace(scenario, turns=tuple(turns))
        said.append(Utterance(1, end + 3_200 * NS_PER_MS, end + 4_000 * NS_PER_MS))
    last = max([end, *(u.end_ns for u in said), *(r.audible_end_ns or 0 for r in replies)])
    trace = Trace(
        scenario,
        "virtual",
        "measured",
        last + NS_PER_S,
        events,
        tuple(said),
        replies,
        routes={"t2t": case.answer, "a2t2t": case.wrote},
        judge={"reply": case.heard, "floor": case.question},
        compute={"input_ns": 400 * NS_PER_MS, "output_ns": 900 * NS_PER_MS},
    )
    return replace(trace, audio=_record(trace, folder, i))


def _reply(case: Case, end: int) -> tuple[tuple[Event, ...], tuple[Reply, ...]]:
    """The events of a cascade that answers, and its reply as it was heard."""
    understood = case.understood or case.question
    events = [Event(EventKind.TRANSCRIPT, {"text": understood}, end, end + 380 * NS_PER_MS, None, 210 * NS_PER_MS)]
    decided = end + (400 if case.response_ms > 400 else case.response_ms - 160) * NS_PER_MS
    action = "speak" if case.heard is not None else "ignore"
    events.append(Event(EventKind.DECISION, {"action": action}, end, decided, None, 5 * NS_PER_MS))
    if case.heard is None:
        return tuple(events), ()
    start = end + case.response_ms * NS_PER_MS
    for i, word in enumerate(case.wrote.split()):
        at = decided + (90 + 40 * i) * NS_PER_MS
        events.append(Event(EventKind.TOKEN, {"text": word + " ", "reply": 0}, end, at, None, 38 * NS_PER_MS))
    made = max(1200, 70 * min(90, len(case.wrote))) * NS_PER_MS
    sound = {"reply": 0, "duration_ns": made}
    events.append(Event(EventKind.AUDIO, sound, 0, start - 40 * NS_PER_MS, start - 40 * NS_PER_MS, 300 * NS_PER_MS))
    heard = made
    if case.early_stop:
        stop = end + 3_650 * NS_PER_MS
        events.append(Event(EventKind.DECISION, {"action": "yield"}, end, stop))
        heard = stop - start
    gaps = (Underrun(start + heard // 2, case.gap_ms * NS_PER_MS),) if case.gap_ms else ()
    over = start + heard + case.gap_ms * NS_PER_MS
    stopped = over if case.early_stop else None
    return tuple(events), (Reply(0, case.wrote, start - 40 * NS_PER_MS, start, over, made, heard, stopped, gaps),)


def _record(trace: Trace, folder: Path, i: int) -> str:
    """Writes babble where the trace has speech: left the user, right the system."""
    samples = np.zeros((trace.duration_ns * RATE_HZ // NS_PER_S, 2), dtype=np.float32)
    for said in trace.user:
        _babble(samples[:, 0], said.start_ns, said.end_ns, 130.0)
    for reply in trace.replies:
        _babble(samples[:, 1], reply.audible_start_ns or 0, reply.audible_end_ns or 0, 210.0)
        for gap in reply.underruns:
            samples[gap.at_ns * RATE_HZ // NS_PER_S : (gap.at_ns + gap.gap_ns) * RATE_HZ // NS_PER_S, 1] = 0.0
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    audio.save(folder / f"audio/{i:03d}.flac", samples, RATE_HZ)
    return f"audio/{i:03d}.flac"


def _babble(channel: Samples, start_ns: int, end_ns: int, pitch_hz: float) -> None:
    first, last = (ns * RATE_HZ // NS_PER_S for ns in (start_ns, end_ns))
    t = np.arange(first, min(last, len(channel))) / RATE_HZ
    syllables = np.abs(np.sin(2 * np.pi * 2.3 * t)) * (0.6 + 0.4 * np.sin(2 * np.pi * 0.7 * t + pitch_hz))
    tone = sum(np.sin(2 * np.pi * pitch_hz * k * t) / k for k in (1, 2, 3, 5))
    channel[first : first + len(t)] = 0.2 * syllables * tone


ROUTES = ("t2t", "a2t2t", "s2t", "s2s")


def _scores(case: Case, trace: Trace) -> list[Score]:
    """Of one scenario: accuracy by route and response time."""
    failed = f"failure: {case.failure.kind}" if case.failure else ""
    scores = [
        Score(f"accuracy_{route}", 1, float(right), "share", 1, "higher")
        for route, right in zip(ROUTES, case.right, strict=True)
    ]
    for name, offset in (("endpoint_ms", 400), ("ttft_ms", 90), ("ttfa_ms", 760), ("response_ms", case.response_ms)):
        silent = failed or ("" if trace.replies else "no audible reply")
        value = None if silent else float(offset + (case.response_ms % 130 if name != "response_ms" else 0))
        scores.append(Score(name, 1, value, "ms", int(not silent), "lower", silent))
    scores.append(Score("plugin_laughter", 3, None if failed else 0.25, "laughs/min", 1, reason=failed))
    return scores


def _totals(cases: list[Case], traces: list[Trace]) -> list[Score]:
    n = len(cases)
    hits = {route: sum(case.right[i] for case in cases) for i, route in enumerate(ROUTES)}
    answered = [case.response_ms for case in cases if case.heard is not None]
    return [
        *(Score(f"accuracy_{r}", 1, hits[r] / n, "share", n, "higher", ci=wilson(hits[r], n)) for r in ROUTES),
        *(_parity(route, hits[route] / hits["t2t"], n) for route in ROUTES[1:]),
        Score("loss_understanding", 1, 100 * (hits["t2t"] - hits["s2t"]) / n, "points", n, "lower", ci=(8.3, 50.0)),
        Score("loss_speaking", 1, 100 * (hits["s2t"] - hits["s2s"]) / n, "points", n, "lower", ci=(-4.1, 25.0)),
        _wer("understanding_wer", 0.041, (0.01, 0.09), n),
        _wer("speech_text_wer", 0.068, (0.02, 0.13), n - 2),
        _wer("speech_text_cer", 0.031, (0.01, 0.06), n - 2),
        _wer("judge_floor_wer", 0.025, (0.0, 0.06), n),
        _latency("endpoint_ms", [400.0 + v % 130 for v in answered], of=n),
        _latency("ttft_ms", [90.0 + v % 130 for v in answered]),
        _latency("ttfa_ms", [760.0 + v % 130 for v in answered]),
        _latency("response_ms", [float(v) for v in answered], of=n),
        Score("yield_decision_ms", 1, 450.0, "ms", 1, "lower", detail={"p50": 450.0, "p90": None, "p99": None, "n": 1}),
        Score("audible_stop_ms", 1, None, "ms", 0, "lower", "no interruption"),
        Score("rtf_input", 1, 0.12, "ratio", n, "lower", ci=(0.1, 0.15)),
        Score("rtf_output", 1, 0.41, "ratio", n, "lower", ci=(0.33, 0.52)),
        Score("underruns", 1, 0.1, "count", 10, "lower", ci=(0.0, 0.3), detail={"total": 1.0}),
        Score("underrun_ms", 1, 38.0, "ms", 10, "lower", ci=(0.0, 114.0), detail={"total": 380.0}),
        _rate("takeover_rate", 10, n, "none"),
        _rate("turn_success", 9, n, "higher"),
        _rate("interrupts_user_rate", 1, n, "lower"),
        _rate("yield_rate", 1, 1, "higher"),
        Score("false_yield_rate", 1, None, "share", 0, "lower", "no such sound"),
        Score(
            "dnsmos", 1, 3.12, "mos", n - 2, "higher", ci=(2.95, 3.27),
            detail={"ovrl": 3.12, "sig": 3.44, "bak": 3.98, "p808": 3.51},
        ),
        Score("plugin_laughter", 3, 0.25, "laughs/min", n - 1, detail={"n_failed": 1}),
    ]  # fmt: skip


def _parity(route: str, ratio: float, n: int) -> Score:
    detail = {"margin": 3.0, "verdict": "inconclusive", "p": 0.125, "b": 4, "c": 0, "n_unpaired": 0}
    return Score(f"parity_{route}", 1, ratio, "ratio", n, "higher", ci=(0.4, 1.0), detail=detail)


def _wer(name: str, value: float, ci: tuple[float, float], n: int) -> Score:
    return Score(name, 1, value, "ratio", n, "lower", ci=ci, detail={"n_empty_ref": 0})


def _rate(name: str, hits: int, n: int, better: str) -> Score:
    return Score(name, 1, hits / n, "share", n, better, ci=wilson(hits, n))  # type: ignore[arg-type]


def _latency(name: str, values: list[float], of: int | None = None) -> Score:
    """The total of `values`; with `of` questions, over those in time, with the failures in detail."""
    failures: dict[str, object] = {"early": sum(v < 0 for v in values)}
    if of is not None:
        early, failed = sum(v < 0 for v in values), sum(case.failure is not None for case in CASES)
        failures = {
            "early": early,
            "early_share": early / len(values),
            "unanswered": of - len(values),
            "n_failed": failed,
            "failed_due": failed,
        }
        values = [v for v in values if v >= 0]
        failures["p50_all"] = median_of_all(values, of - len(values))
    p50, p90, p99 = (float(p) for p in np.percentile(values, [50, 90, 99]))
    n = len(values)
    detail = {
        "p50": p50,
        "p90": p90 if n >= 10 else None,
        "p99": p99 if n >= 100 else None,
        "n": n,
        **failures,
    }
    return Score(name, 1, p50, "ms", n, "lower", ci=(p50 * 0.9, p50 * 1.1), detail=detail)


def _run(count: int) -> dict[str, object]:
    config = {
        "system": "cascade",
        "system_args": {"recognizer": "whisper-base.en", "name": 'it\'s "so"'},
        "backbone": "smollm2-360m",
        "suites": ["spoken-qa"],
        "limit": count,
        "judge": "whisper",
        "seed": 0,
        "clock": "virtual",
        "costs": "measured",
        "workers": 1,
        "text_routes": True,
        "device": None,
    }
    return {
        "version": 1,
        "fobench": "0.1.0",
        "status": "complete",
        "config": config,
        "components": {
            "system": {"backbone": "smollm2-360m", "recognizer": "whisper-base.en", "voice": "piper-lessac", "vad": "silero"},
            "judge": {"name": "whisper-small.en", "weights": "0123abcd"},
        },
        "seed": 0,
        "clock": "virtual",
        "costs": "measured",
        "machine": {
            "cpu": "Example CPU at 2.5 GHz",
            "instruction_sets": ["avx2"],
            "cores": 2,
            "memory_gb": 16.4,
            "os": "Linux x86_64",
            "gpu": None,
        },
        "packages": {"fobench": "0.1.0", "numpy": "2.1.0", "jiwer": "4.0.0"},
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
        "assets": {"whisper-base.en": "ab" * 32},
        "started": "2025-01-02T03:04:05+00:00",
        "duration_s": 184.2,
        "harness": {"overhead_fraction": 0.031},
        "notes": ["The judge and the system's recognizer are of one family (Whisper): their errors may agree."],
    }  # fmt: skip


def main() -> None:
    """Writes all reports of the sample."""
    from fobench.api import registry

    folder = Path(sys.argv[1])
    results = sample(folder, int(sys.argv[2]) if len(sys.argv) > 2 else len(CASES))
    for name in ("html", "markdown", "junit", "terminal"):
        registry.create("reporters", name).write(results, folder)


if __name__ == "__main__":
    main()
