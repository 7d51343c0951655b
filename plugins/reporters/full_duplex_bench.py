"""A run in the layout of Full-Duplex-Bench (v1: arXiv 2503.04721, v1.5: arXiv 2507.23159), and its metrics by their definitions.

`full-duplex-bench/TASK/SAMPLE/` holds what that benchmark's scripts read: `input.wav`, `output.wav` (the system as heard, on the
input's timeline), `output.json` ({"text", "chunks": [{"text": word, "timestamp": [start, end]}]}, in seconds), and the times of
the user's events in `pause.json`, `turn_taking.json`, `interrupt.json` or `metadata.json`. The words are those that the system
reports as spoken, spread evenly over the audio of their event; for the words of a speech recognizer, run their script on
output.wav. After an interruption only the words after its *end* are written: their transcription crops the output there.

`summary.json` holds, by task, the metrics that their scripts compute from these files (v1, section 4; v1.5, section 3):
- TOR: a sample is a takeover if its words span 1 s or more, or if there are more than 3. In tasks in which the system has to
  listen (pauses, listening) only the words up to the end of the user's channel count.
- latency: first word - end of the user's turn (of the interruption, if there is one), over takeovers, **clamped at 0**: a reply
  that comes too early looks perfect. `early` counts those.
- stop latency and response latency (v1.5), of samples with user audio over a reply: each overlap of both sides' speech, and from
  the end of the user's speech to the system's next.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from fobench.api.results import Results
from fobench.api.trace import Trace, Utterance
from fobench.api.types import NS_PER_S, Action, Event, EventKind
from fobench.atomic_files import atomic_path, file_inside, file_names, write_text

FOLDER = "full-duplex-bench"
SECONDS, WORDS = 1.0, 3  # a takeover lasts at least so long, or has more words
OVERLAYS = ("interrupt", "backchannel", "side_talk", "background")  # user audio over a reply
USER_GAP_NS, SYSTEM_GAP_NS = 600_000_000, 500_000_000  # speech with shorter gaps is one segment (v1.5)

Segment = tuple[int, int]  # start and end, ns


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word with its start and end in the audible output, in seconds."""

    text: str
    start_s: float
    end_s: float

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text, "timestamp": [round(self.start_s, 3), round(self.end_s, 3)]}


class FullDuplexBenchReporter:
    """Writes the folder of samples and its summary; returns the summary's path."""

    def write(self, results: Results, folder: Path) -> Path:
        by_task: dict[str, list[Trace]] = {}
        for trace in results.traces:
            by_task.setdefault(str(trace.scenario.tags.get("task", trace.scenario.expect.family)), []).append(trace)
        names, found = file_names(by_task), {}
        for task, traces in sorted(by_task.items()):
            found[names[task]] = task_metrics(traces)
            samples = _sample_names([trace.id for trace in traces])
            for trace in traces:
                if trace.question is not None:
                    _write_sample(results.folder, trace, folder / FOLDER / names[task] / samples[trace.id])
        return write_text(folder / FOLDER / "summary.json", json.dumps(found, indent=1) + "\n", parents=True)


def _sample_names(ids: Sequence[str]) -> dict[str, str]:
    """{scenario id: folder name}: the last part of each id, or the whole id where two end alike."""
    ends = Counter(name.rpartition("/")[2] for name in ids)
    labels = {name: end if ends[end := name.rpartition("/")[2]] == 1 else name for name in ids}
    names = file_names(labels.values())
    return {name: names[label] for name, label in labels.items()}


def task_metrics(traces: Sequence[Trace]) -> dict[str, Any]:
    """TOR, mean latencies (s), and the number of early replies that are clamped to 0.

    `wordless`: samples that are left out because the system spoke without reporting its words; `not_asked`: those in which the
    question was not reached, e.g. after a failure.
    """
    asked = [trace for trace in traces if trace.question is not None]
    scored = [(trace, list(scored_words(trace))) for trace in asked if not _wordless(trace)]
    taken = [(trace, heard) for trace, heard in scored if takes_over(heard)]
    delays = [delay for trace, heard in taken if (delay := delay_s(trace, heard)) is not None]
    overlaid = [trace for trace in asked if _overlay(trace)]
    return {
        "n": len(scored),
        "wordless": len(asked) - len(scored),
        "not_asked": len(traces) - len(asked),
        "tor": round(len(taken) / len(scored), 4) if scored else None,
        "latency_s": _mean([max(0.0, delay) for delay in delays]),
        "early": sum(delay < 0 for delay in delays),
        "stop_latency_s": _mean([each for trace in overlaid for each in stop_latencies_s(trace)]),
        "response_latency_s": _mean([each for trace in overlaid for each in response_latencies_s(trace)]),
    }


def _wordless(trace: Trace) -> bool:
    """Whether the system was audible without reporting a word."""
    return any(reply.audible_start_ns is not None for reply in trace.replies) and not any(True for _ in chunks(trace))


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def _role(trace: Trace, utterance: Utterance) -> str:
    return trace.scenario.turns[utterance.turn].role


def _overlay(trace: Trace) -> Utterance | None:
    """The last user audio over a reply."""
    return next((u for u in reversed(trace.user) if _role(trace, u) in OVERLAYS), None)


def takes_over(heard: Sequence[TimedWord]) -> bool:
    """Whether a sample is a takeover by their definition."""
    return bool(heard) and (heard[-1].end_s - heard[0].start_s >= SECONDS or len(heard) > WORDS)


def delay_s(trace: Trace, heard: Sequence[TimedWord]) -> float | None:
    """From the end of the user's turn to the first of the `scored_words`; None in tasks without this latency: those of v1.5
    with audio that is no question, and those in which the system has to listen.
    """
    asked = trace.question
    if asked is None or not heard or _must_listen(trace) or (_role(trace, asked) != "interrupt" and _overlay(trace)):
        return None
    return heard[0].start_s - asked.end_ns / NS_PER_S


def scored_words(trace: Trace) -> Iterator[TimedWord]:
    """The audible words that their scripts see: after the end of an interruption; in listening tasks, inside the channel."""
    question = trace.question
    start_s = question.end_ns / NS_PER_S if question and _role(trace, question) == "interrupt" else 0.0
    end_ns = _channel_end_ns(trace) if _must_listen(trace) else None
    for word in chunks(trace):
        if word.end_s > start_s and (end_ns is None or word.start_s * NS_PER_S < end_ns):
            yield TimedWord(word.text, max(word.start_s, start_s), word.end_s)


def _must_listen(trace: Trace) -> bool:
    """Whether a takeover is a fault: samples with pauses inside the user's turn, and those to listen to."""
    return trace.scenario.expect.is_listening or any(_role(trace, u) == "fragment" for u in trace.user)


def _channel_end_ns(trace: Trace) -> int | None:
    """End of the user's channel: that of the last turn's file, or of its speech if the file is gone."""
    if not trace.user:
        return None
    last = trace.user[-1]
    turn = trace.scenario.turns[last.turn]
    try:
        file = soundfile.info(turn.audio)
    except (soundfile.SoundFileError, OSError):
        return last.end_ns
    if turn.start_ns is None:
        return last.end_ns
    return max(last.end_ns, last.start_ns - turn.start_ns + file.frames * NS_PER_S // file.samplerate)


def stop_latencies_s(trace: Trace) -> Iterator[float]:
    """The length of each overlap of user and system (v1.5: overlap onset to the end of the system's speech)."""
    for user_start, user_end in _user_segments(trace):
        for start, end in _system_segments(trace):
            if (overlap := min(user_end, end) - max(user_start, start)) > 0:
                yield overlap / NS_PER_S


def response_latencies_s(trace: Trace) -> list[float]:
    """From the end of the user's speech to the system's next; of several ends before one reply, the last."""
    starts = [start for start, _ in _system_segments(trace)]
    nearest: dict[int, int] = {}
    for _, user_end in _user_segments(trace):
        following = next((start for start in starts if start > user_end), None)
        if following is not None:
            nearest[following] = user_end
    return [(start - end) / NS_PER_S for start, end in nearest.items()]


def _user_segments(trace: Trace) -> list[Segment]:
    return _merged([(u.start_ns, u.end_ns) for u in trace.user], USER_GAP_NS)


def _system_segments(trace: Trace) -> list[Segment]:
    audible = [(r.audible_start_ns, r.audible_end_ns) for r in trace.replies]
    return _merged([(a, b) for a, b in audible if a is not None and b is not None], SYSTEM_GAP_NS)


def _merged(segments: Sequence[Segment], gap_ns: int) -> list[Segment]:
    """The segments in order, joined where the gap between them is at most `gap_ns`."""
    found: list[Segment] = []
    for start, end in sorted(segments):
        if found and start - found[-1][1] <= gap_ns:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def chunks(trace: Trace) -> Iterator[TimedWord]:
    """The audible words with their times; of a reply that was cut off, those that start before the cut."""
    stops = {reply.reply: reply for reply in trace.replies}
    for event in trace.of(EventKind.AUDIO):
        reply, words = stops.get(int(event.data.get("reply", 0))), str(event.data.get("text", "")).split()
        if not words or event.playback_ns is None or reply is None or reply.audible_end_ns is None:
            continue
        each, last = int(event.data.get("duration_ns", 0)) / len(words), _cut_ns(trace, event, reply.audible_end_ns)
        for index, word in enumerate(words):
            start, end = event.playback_ns + index * each, event.playback_ns + (index + 1) * each
            if start < last:
                yield TimedWord(word, start / NS_PER_S, min(end, last) / NS_PER_S)


def _cut_ns(trace: Trace, event: Event, end_ns: int) -> int:
    """The latest end of an event's audio: the end of its reply, or the system's stop after it was generated."""
    made = event.compute_ns or 0
    return min(
        [end_ns, *(y.compute_ns for y in trace.decisions(Action.YIELD) if y.compute_ns and y.compute_ns >= made)]
    )


def event_files(trace: Trace) -> dict[str, Any]:
    """{file name: content} of the times of the user's events, in the benchmark's keys, in seconds."""
    turns, asked = trace.scenario.turns, trace.question
    if asked is None or trace.scenario.expect.is_listening:
        return {}
    found: dict[str, Any] = {}
    if pauses := list(_pauses(trace)):
        found["pause.json"] = [{"text": "[PAUSE]", "timestamp": pause} for pause in pauses]
    if overlay := asked if _role(trace, asked) == "interrupt" else _overlay(trace):
        context = next((turns[u.turn].text for u in reversed(trace.user) if u.turn < overlay.turn), None) or ""
        text, times = turns[overlay.turn].text or "", _times(overlay.start_ns, overlay.end_ns)
        found["metadata.json"] = {"timestamps": times, "context_text": context, "current_turn_text": text}
        if _role(trace, overlay) == "interrupt":
            found["interrupt.json"] = [{"context": context, "interrupt": text, "timestamp": times}]
    if not found:
        found["turn_taking.json"] = [{"text": "[TURN-TAKING]", "timestamp": _times(asked.end_ns, asked.end_ns)}]
    return found


def _pauses(trace: Trace) -> Iterator[list[float]]:
    """From the end of each fragment to the start of the next utterance."""
    for fragment, following in zip(trace.user, trace.user[1:], strict=False):
        if _role(trace, fragment) == "fragment":
            yield _times(fragment.end_ns, following.start_ns)


def _times(*ns: int) -> list[float]:
    return [round(each / NS_PER_S, 3) for each in ns]


def _write_sample(run: Path, trace: Trace, folder: Path) -> None:
    heard = list(scored_words(trace))
    output = {"text": " ".join(word.text for word in heard), "chunks": [word.to_json() for word in heard]}
    for name, content in {"output.json": output, **event_files(trace)}.items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_text(folder / name, text, errors="replace", parents=True)
    source = file_inside(run, trace.audio) if trace.audio else None
    if source is None:
        return
    both, rate = soundfile.read(source, dtype="float32", always_2d=True)
    end_ns = _channel_end_ns(trace) if _must_listen(trace) else None
    length = len(both) if end_ns is None else end_ns * rate // NS_PER_S
    for name, channel in (("input.wav", 0), ("output.wav", -1)):
        with atomic_path(folder / name) as path:
            soundfile.write(path, both[:length, channel], rate, format="WAV")
