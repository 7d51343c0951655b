"""What the built-in metrics are called in a report, in which unit they are shown, and what each means in one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["rate", "ratio", "points", "ms", "factor", "count", "mos", "plain"]


@dataclass(frozen=True, slots=True)
class MetricLabel:
    """A metric's name in plain words, how its value is shown, and its definition."""

    label: str
    kind: Kind
    means: str


ROUTES = {
    "accuracy_t2t": MetricLabel(
        "Text in, text out (t2t)", "rate", "The backbone answers the reference text of the question."
    ),
    "accuracy_a2t2t": MetricLabel(
        "Transcript in, text out (a2t2t)", "rate", "It answers the system's own transcript of the audio, as text."
    ),
    "accuracy_s2t": MetricLabel(
        "Speech in, text out (s2t)", "rate", "It hears the question; the reply's text is scored."
    ),
    "accuracy_s2s": MetricLabel(
        "Speech in, speech out (s2s)", "rate", "It hears the question; the judge's transcript of its speech is scored."
    ),
}
PARITIES = {
    "parity_a2t2t": MetricLabel("Transcript vs text", "ratio", "accuracy(a2t2t) / accuracy(t2t), paired by question."),
    "parity_s2t": MetricLabel("Speech in vs text", "ratio", "accuracy(s2t) / accuracy(t2t), paired by question."),
    "parity_s2s": MetricLabel(
        "Speech to speech vs text", "ratio", "accuracy(s2s) / accuracy(t2t), paired by question."
    ),
}
LOSSES = {
    "loss_understanding": MetricLabel("Lost in understanding", "points", "accuracy(t2t) - accuracy(s2t), in points."),
    "loss_speaking": MetricLabel("Lost in speaking", "points", "accuracy(s2t) - accuracy(s2s), in points."),
}
WERS = {
    "understanding_wer": MetricLabel(
        "Understands the user", "rate", "WER of the system's transcript of the audio against the reference question."
    ),
    "speech_text_wer": MetricLabel(
        "Says what it writes", "rate", "WER of the judge's transcript of the speech against the system's own text."
    ),
    "speech_text_cer": MetricLabel("Says what it writes, characters", "rate", "The same by character (CER)."),
    "codec_wer": MetricLabel(
        "The codec's own share", "rate", "WER of the judge on codec-resynthesised speech, minus that on the original."
    ),
    "judge_floor_wer": MetricLabel(
        "Judge's floor", "rate", "WER of the judging recogniser on the users' clean audio: no rate below it means much."
    ),
}
REPLY_LATENCIES = {
    "endpoint_ms": MetricLabel(
        "Endpoint", "ms", "True end of the user's speech to the decision that the turn is its own."
    ),
    "ttft_ms": MetricLabel("First token", "ms", "Decision to the reply's first token."),
    "ttfa_ms": MetricLabel("First audio", "ms", "Decision to the first audio packet available."),
    "response_ms": MetricLabel(
        "Response", "ms", "True end of the user's speech to the first audible sample; leading silence counts."
    ),
}
STOP_LATENCIES = {
    "yield_decision_ms": MetricLabel(
        "Decides to yield", "ms", "Start of the user's interruption to the decision to stop."
    ),
    "audible_stop_ms": MetricLabel(
        "Falls silent", "ms", "Start of the user's interruption to the last audible sample, playback buffer included."
    ),
}
STATES = {
    "state_f1": MetricLabel(
        "States, F1", "rate", "Macro F1 of the predicted states (listen, answer, ignore), a user's turn a case."
    ),
    "decision_f1": MetricLabel(
        "Decisions, F1", "rate", "The same of what it did: decided to speak, to ignore, or nothing."
    ),
    "state_delay_chunks": MetricLabel(
        "Tells the turn's end after",
        "plain",
        "Chunks judged from the true end of the user's turn until its end is told.",
    ),
}
LATENCIES = {**REPLY_LATENCIES, **STOP_LATENCIES}
TURN_TAKING = {
    "takeover_rate": MetricLabel(
        "Takes the floor", "rate", "Share of scenarios with audible speech of 1 s or more, or more than 3 words."
    ),
    "pause_takeover_rate": MetricLabel(
        "Takes the floor in a pause", "rate", "The same, during a pause inside the user's turn."
    ),
    "turn_success": MetricLabel("Keeps its turns", "rate", "Silent in the user's span and speaks in its own."),
    "interrupts_user_rate": MetricLabel(
        "Interrupts the user", "rate", "Becomes audible while the user still holds the turn."
    ),
    "yield_rate": MetricLabel("Yields to interruptions", "rate", "Yields within 2.0 s of a real interruption's start."),
    "false_yield_rate": MetricLabel(
        "Stops without reason", "rate", "Stops for a backchannel, side talk, background speech or noise."
    ),
    "resume_rate": MetricLabel("Resumes its reply", "rate", "Keeps or resumes its reply after those."),
    "response_after_interrupt": MetricLabel(
        "Answers the new question", "rate", "Answers correctly after an interruption."
    ),
}
PLAYBACK = {
    "rtf_input": MetricLabel("Compute per second heard", "factor", "Compute time over media time, input path."),
    "rtf_output": MetricLabel("Compute per second spoken", "factor", "Compute time over media time, output path."),
    "underruns": MetricLabel("Gaps in its speech", "count", "Times the listener ran out of audio, per reply."),
    "underrun_ms": MetricLabel("Length of the gaps", "ms", "How long those gaps were, per reply."),
}
QUALITY = {
    "dnsmos": MetricLabel("DNSMOS", "mos", "Predicted opinion score of the reply's sound, 1 to 5 (P.835 and P.808)."),
}
FIGURES: dict[str, MetricLabel] = {
    **ROUTES,
    **PARITIES,
    **LOSSES,
    **WERS,
    **LATENCIES,
    **TURN_TAKING,
    **STATES,
    **PLAYBACK,
    **QUALITY,
}
UNITS: dict[str, Kind] = {
    "fraction": "rate",
    "rate": "rate",
    "share": "rate",
    "proportion": "rate",
    "ms": "ms",
    "points": "points",
    "mos": "mos",
}


def kind_of(metric: str, unit: str) -> Kind:
    """How values of `metric` are shown: as catalogued, else as its unit suggests."""
    known = FIGURES.get(metric)
    return known.kind if known else UNITS.get(unit.lower(), "plain")
