"""Built-in metrics: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from fobench.api.components import Metric
from fobench.api.hookspecs import Factories


def accuracy_t2t() -> Metric:
    """Share of right replies by text to the question's reference text."""
    from fobench_plugins.metrics.accuracy import Accuracy

    return Accuracy("t2t")


def accuracy_a2t2t() -> Metric:
    """Share of right replies by text to the system's own transcript of the question."""
    from fobench_plugins.metrics.accuracy import Accuracy

    return Accuracy("a2t2t")


def accuracy_s2t() -> Metric:
    """Share of right reply texts to the spoken question."""
    from fobench_plugins.metrics.accuracy import Accuracy

    return Accuracy("s2t")


def accuracy_s2s() -> Metric:
    """Share of right spoken replies to the spoken question, as the judge heard them."""
    from fobench_plugins.metrics.accuracy import Accuracy

    return Accuracy("s2s")


def parity(margin: float = 3.0) -> Metric:
    """Accuracy by ear and mouth against that by text. `margin`: the loss in points that the verdict does not tolerate."""
    from fobench_plugins.metrics.parity import Parity

    return Parity(margin)


def understanding_wer() -> Metric:
    """Word errors of the system's transcript of the question against its reference text."""
    from fobench_plugins.metrics import wer

    return wer.ErrorRate("understanding_wer", wer.understanding)


def speech_text_wer() -> Metric:
    """Word errors of the reply's speech, as the judge heard it, against the reply's text."""
    from fobench_plugins.metrics import wer

    return wer.ErrorRate("speech_text_wer", wer.speech_text)


def speech_text_cer() -> Metric:
    """Character errors of the reply's speech, as the judge heard it, against the reply's text."""
    from fobench_plugins.metrics import wer

    return wer.ErrorRate("speech_text_cer", wer.speech_text, per="chars")


def judge_floor_wer() -> Metric:
    """Word errors of the judge itself, on the users' clean audio."""
    from fobench_plugins.metrics import wer

    return wer.ErrorRate("judge_floor_wer", wer.judge_floor)


def endpoint_ms() -> Metric:
    """True end of the user's speech -> the system decides that the turn is its own."""
    from fobench_plugins.metrics import latency

    return latency.Latency("endpoint_ms", latency.endpoint)


def ttft_ms() -> Metric:
    """That decision -> first token of the reply."""
    from fobench_plugins.metrics import latency

    return latency.Latency("ttft_ms", latency.first_token)


def ttfa_ms() -> Metric:
    """That decision -> first audio packet available."""
    from fobench_plugins.metrics import latency

    return latency.Latency("ttfa_ms", latency.first_audio)


def response_ms() -> Metric:
    """True end of the user's speech -> first audible sample of the reply."""
    from fobench_plugins.metrics import latency

    return latency.Latency("response_ms", latency.response)


def yield_decision_ms() -> Metric:
    """Start of an interruption -> the system decides to stop."""
    from fobench_plugins.metrics import latency

    return latency.Latency("yield_decision_ms", latency.yield_decision)


def audible_stop_ms() -> Metric:
    """Start of an interruption -> last audible sample of the interrupted reply."""
    from fobench_plugins.metrics import latency

    return latency.Latency("audible_stop_ms", latency.audible_stop)


def rtf_input() -> Metric:
    """Compute time / media time of the input path."""
    from fobench_plugins.metrics.real_time_factor import RealTimeFactor

    return RealTimeFactor("input")


def rtf_output() -> Metric:
    """Compute time / media time of the output path."""
    from fobench_plugins.metrics.real_time_factor import RealTimeFactor

    return RealTimeFactor("output")


def underruns() -> Metric:
    """Gaps in playback inside a reply, per reply."""
    from fobench_plugins.metrics.playback_underruns import Underruns

    return Underruns("count")


def underrun_ms() -> Metric:
    """Length of the gaps in playback inside a reply, per reply."""
    from fobench_plugins.metrics.playback_underruns import Underruns

    return Underruns("ms")


def takeover_rate() -> Metric:
    """Share of scenarios in which the system takes the floor: 1 s of audible speech, or more than 3 words."""
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("takeover_rate", "none", turn_taking.takes_over)


def pause_takeover_rate() -> Metric:
    """Share of scenarios with a pause inside the user's turn in which the system takes the floor there."""
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("pause_takeover_rate", "lower", turn_taking.takes_over_in_pause, version=2)


def turn_success() -> Metric:
    """Share of scenarios in which the system is silent in the user's span and speaks in its own."""
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("turn_success", "higher", turn_taking.succeeds, version=3)


def interrupts_user_rate() -> Metric:
    """Share of scenarios in which the system becomes audible while the user still holds the turn."""
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("interrupts_user_rate", "lower", turn_taking.speaks_over, version=2)


def response_after_interrupt() -> Metric:
    """Share of interruptions by a new question that are answered correctly."""
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("response_after_interrupt", "higher", turn_taking.answers_interrupt)


def yield_rate() -> Metric:
    """Share of interruptions to which the system yields within 2.0 s."""
    from fobench_plugins.metrics.duplex import barge_in, floor_spans

    return barge_in.SoundRate("yield_rate", "higher", floor_spans.interruptions, barge_in.yields, version=2)


def false_yield_rate() -> Metric:
    """Share of backchannels, side talk, background speech and noises for which the system stops."""
    from fobench_plugins.metrics.duplex import barge_in, floor_spans

    return barge_in.SoundRate("false_yield_rate", "lower", floor_spans.bystanders, barge_in.stops)


def resume_rate() -> Metric:
    """Share of backchannels, side talk, background speech and noises through which the system keeps or resumes its reply."""
    from fobench_plugins.metrics.duplex import barge_in, floor_spans

    return barge_in.SoundRate("resume_rate", "higher", floor_spans.bystanders, barge_in.keeps)


def state_f1() -> Metric:
    """Macro F1 of the states 0 / 1 / 2 that the system predicts, a user's turn a case; the confusion matrix in detail."""
    from fobench_plugins.metrics.duplex.states import StateF1

    return StateF1("state_f1", "states")


def decision_f1() -> Metric:
    """The same of what the system did: decided to speak (1), to ignore (2), or nothing (0)."""
    from fobench_plugins.metrics.duplex.states import StateF1

    return StateF1("decision_f1", "decisions")


def state_delay_chunks() -> Metric:
    """Chunks that the state head judges after the true end of the user's turn until it tells the turn's end."""
    from fobench_plugins.metrics.duplex.states import StateDelay

    return StateDelay()


def dnsmos() -> Metric:
    """DNSMOS P.835 overall quality of the reply's sound; sig, bak and P.808 in detail."""
    from fobench_plugins.metrics.dnsmos import Dnsmos

    return Dnsmos()


NAMED = (
    *(accuracy_t2t, accuracy_a2t2t, accuracy_s2t, accuracy_s2s, parity),
    *(understanding_wer, speech_text_wer, speech_text_cer, judge_floor_wer),
    *(endpoint_ms, ttft_ms, ttfa_ms, response_ms, yield_decision_ms, audible_stop_ms),
    *(takeover_rate, pause_takeover_rate, turn_success, interrupts_user_rate),
    *(yield_rate, false_yield_rate, resume_rate, response_after_interrupt),
    *(state_f1, decision_f1, state_delay_chunks),
    *(rtf_input, rtf_output, underruns, underrun_ms, dnsmos),
)
FACTORIES: Factories = {factory.__name__: factory for factory in NAMED}
