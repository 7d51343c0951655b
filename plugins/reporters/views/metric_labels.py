"""The names of the built-in metrics in reports, the units they are shown in, and their definitions in one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fobench.api.types import Score
from fobench.formatting import one_line

NO_USAGE = "the system reports no usage"  # the reason of a missing cost
Kind = Literal["rate", "ratio", "points", "ms", "factor", "count", "mos", "plain"]


@dataclass(frozen=True, slots=True)
class MetricLabel:
    """A metric's name in reports, the kind of its value, and its definition."""

    label: str
    kind: Kind
    means: str


ROUTES = {
    "accuracy_t2t": MetricLabel(
        "Text in, text out (t2t)", "rate", "The LLM answers the reference text of the question."
    ),
    "accuracy_a2t2t": MetricLabel(
        "Transcript in, text out (a2t2t)", "rate", "The LLM answers the system's own ASR transcript, as text."
    ),
    "accuracy_s2t": MetricLabel(
        "Speech in, text out (s2t)", "rate", "The system hears the question; the text of its reply is scored."
    ),
    "accuracy_s2s": MetricLabel(
        "Speech in, speech out (s2s)",
        "rate",
        "The system hears the question; the reference ASR's transcript of its speech is scored.",
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
    "loss_understanding": MetricLabel(
        "Speech understanding loss", "points", "accuracy(t2t) - accuracy(s2t), in percentage points."
    ),
    "loss_speaking": MetricLabel(
        "Speech generation loss", "points", "accuracy(s2t) - accuracy(s2s), in percentage points."
    ),
}
WERS = {
    "understanding_wer": MetricLabel(
        "ASR WER (user speech)", "rate", "WER of the system's transcript of the user against the reference question."
    ),
    "speech_text_wer": MetricLabel(
        "TTS WER (intelligibility)",
        "rate",
        "WER of the reference ASR's transcript of the reply against the system's own text.",
    ),
    "speech_text_cer": MetricLabel("TTS CER (intelligibility)", "rate", "The same by characters (CER)."),
    "codec_wer": MetricLabel(
        "Codec WER", "rate", "WER of the reference ASR on codec-resynthesized speech, minus its WER on the original."
    ),
    "judge_floor_wer": MetricLabel(
        "Reference-ASR WER, clean prompts",
        "rate",
        "WER of the reference ASR on the clean prompt audio; differences below it are not meaningful.",
    ),
    "understanding_wer_whisper": MetricLabel(
        "ASR WER (user speech), Whisper's normalizer", "rate", "The ASR WER by the normalizer of published WERs."
    ),
    "speech_text_wer_whisper": MetricLabel(
        "TTS WER (intelligibility), Whisper's normalizer", "rate", "The TTS WER by the normalizer of published WERs."
    ),
}
REPLY_LATENCIES = {
    "endpoint_ms": MetricLabel(
        "End-of-turn delay (EOT)", "ms", "True end of the user's speech to the decision that the turn has ended."
    ),
    "ttft_ms": MetricLabel("TTFT", "ms", "Decision to the first token of the reply."),
    "ttfa_ms": MetricLabel("TTFA", "ms", "Decision to the first available audio packet."),
    "response_ms": MetricLabel(
        "Response latency (voice to voice)",
        "ms",
        "True end of the user's speech to the first audible sample, over replies in time; leading silence counts.",
    ),
}
STOP_LATENCIES = {
    "yield_decision_ms": MetricLabel(
        "Barge-in decision latency", "ms", "Start of the user's interruption to the decision to stop."
    ),
    "audible_stop_ms": MetricLabel(
        "Barge-in stop latency",
        "ms",
        "Start of the user's interruption to the last audible sample, playback buffer included.",
    ),
}
STATES = {
    "state_f1": MetricLabel(
        "Turn-state F1",
        "rate",
        "Macro F1 of the predicted states (listen, answer, ignore) over those that occur; a user turn is a case.",
    ),
    "decision_f1": MetricLabel(
        "Decision F1",
        "rate",
        "Macro F1 of the decisions (nothing, speak, ignore) over those that occur; a user turn is a case.",
    ),
    "state_delay_chunks": MetricLabel(
        "Turn-state delay (chunks)", "plain", "Chunks from the true end of the user's turn to its prediction."
    ),
}
STATE_NAMES = {"0": "0, listen", "1": "1, answer", "2": "2, ignore"}
LATENCIES = {**REPLY_LATENCIES, **STOP_LATENCIES}
TURN_TAKING = {
    "takeover_rate": MetricLabel(
        "Takeover rate (TOR)", "rate", "Share of scenarios with audible speech of 1 s or more, or more than 3 words."
    ),
    "pause_takeover_rate": MetricLabel(
        "Premature end of turn", "rate", "Takeover rate during a pause inside the user's turn."
    ),
    "turn_success": MetricLabel(
        "Turn-taking success rate", "rate", "Silent during the user's turn and audible in its own."
    ),
    "interrupts_user_rate": MetricLabel("False cut-in", "rate", "Becomes audible while the user still holds the turn."),
    "early_reply_rate": MetricLabel(
        "Early replies", "rate", "Share of replies that are audible before the end of the user's turn."
    ),
    "no_reply_rate": MetricLabel("Unanswered questions", "rate", "Share of questions without an audible reply."),
    "yield_rate": MetricLabel(
        "Barge-in success rate", "rate", "Stops within 2.0 s of the start of a real interruption."
    ),
    "false_yield_rate": MetricLabel(
        "False barge-in rate", "rate", "Stops for a backchannel, side talk, background speech or noise."
    ),
    "resume_rate": MetricLabel(
        "Resume rate", "rate", "Keeps or resumes its reply after a backchannel, side talk or noise."
    ),
    "response_after_interrupt": MetricLabel(
        "Accuracy after barge-in", "rate", "Answers the interrupting question correctly."
    ),
}
PLAYBACK = {
    "rtf_input": MetricLabel("RTF, input", "factor", "Real-time factor of the input path: compute / audio duration."),
    "rtf_output": MetricLabel(
        "RTF, output", "factor", "Real-time factor of the output path: compute / audio duration."
    ),
    "underruns": MetricLabel("Playback underruns", "count", "Times the playback buffer ran empty, per reply."),
    "underrun_ms": MetricLabel("Underrun duration", "ms", "Total duration of the playback underruns, per reply."),
}
QUALITY = {
    "dnsmos": MetricLabel("DNSMOS", "mos", "Predicted mean opinion score of the reply's audio, 1 to 5 (P.835, P.808)."),
}
LLM_JUDGE = {  # of a metric that a user has to name; shown beside the metrics of other packages
    f"llm_judge{part}_{route}": MetricLabel(f"{label} ({route})", "rate", means)
    for part, label, means in (
        ("", "Accuracy by LLM judge", "Open answers that an LLM judge calls correct under a fixed rubric."),
        ("_agreement", "LLM judge agrees with string match", "Verdicts of the LLM judge that the string match shares."),
    )
    for route in ("t2t", "a2t2t", "s2t", "s2s")
}
COSTS = {  # shown beside the metrics of other packages, where the system reports usage
    "tokens_input": MetricLabel("Input tokens", "plain", "Mean per conversation, as the system reports them."),
    "tokens_output": MetricLabel("Output tokens", "plain", "Mean per conversation, as the system reports them."),
    "cost_per_minute": MetricLabel(
        "Cost per minute", "plain", "Money per minute of conversation, by the price table given."
    ),
}
METRICS: dict[str, MetricLabel] = {
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


def further_label(score: Score) -> MetricLabel | None:
    """The label of a metric that has no table of its own; None where it is not shown: costs of a system that reports none."""
    if score.metric in METRICS or (score.metric in COSTS and score.value is None and score.reason == NO_USAGE):
        return None
    known = LLM_JUDGE.get(score.metric) or COSTS.get(score.metric)
    return known or MetricLabel(one_line(score.metric), kind_of(score.metric, score.unit), "")


def kind_of(metric: str, unit: str) -> Kind:
    """The kind that values of `metric` are shown as: that of a built-in metric, otherwise by unit."""
    known = METRICS.get(metric)
    return known.kind if known else UNITS.get(unit.lower(), "plain")
