"""Built-in metrics: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from fobench.api.components import Metric
from fobench.api.hookspecs import Factories


def accuracy_t2t() -> Metric:
    """Accuracy of text in, text out: the frozen LLM answers the question's reference text.

    Correct replies / scenarios with accepted answers. A reply is correct if it contains an accepted answer after text
    normalization, or picks the right option of a multiple-choice question; Wilson's 95 % interval.
    """
    from fobench_plugins.metrics.accuracy import Accuracy

    return Accuracy("t2t")


def accuracy_a2t2t() -> Metric:
    """Accuracy of the frozen LLM on the system's own ASR transcript of the question.

    Correct replies / scenarios with accepted answers, matched as in `accuracy_t2t`.
    """
    from fobench_plugins.metrics.accuracy import Accuracy

    return Accuracy("a2t2t")


def accuracy_s2t() -> Metric:
    """Accuracy of speech in, text out: the text of the system's reply to the spoken question.

    Correct replies / scenarios with accepted answers, matched as in `accuracy_t2t`; a missing reply or a failure of the
    system is counted as wrong.
    """
    from fobench_plugins.metrics.accuracy import Accuracy

    return Accuracy("s2t")


def accuracy_s2s() -> Metric:
    """Accuracy of speech in, speech out: the reference ASR's transcript of the spoken reply.

    Correct replies / scenarios with accepted answers, matched as in `accuracy_t2t`; a missing reply or a failure of the
    system is counted as wrong.
    """
    from fobench_plugins.metrics.accuracy import Accuracy

    return Accuracy("s2s")


def parity(margin: float = 3.0) -> Metric:
    """Accuracy with speech input or output relative to the same LLM's accuracy with text, paired by scenario.

    `parity_s2t` = accuracy_s2t / accuracy_t2t (`parity_a2t2t` and `parity_s2s` likewise); `loss_understanding` =
    accuracy_t2t - accuracy_s2t and `loss_speaking` = accuracy_s2t - accuracy_s2s, in percentage points, with exact
    McNemar and a non-inferiority test. `margin`: the non-inferiority margin, the smallest loss that is not tolerated,
    in percentage points.
    """
    from fobench_plugins.metrics.parity import Parity

    return Parity(margin)


def understanding_wer() -> Metric:
    """ASR WER on user speech: the system's transcript of the question against its reference text.

    (S + D + I) / N words, pooled over utterances, both sides normalized by Whisper's English normalizer (arXiv
    2212.04356, app. C).
    """
    from fobench_plugins.metrics import wer

    return wer.ErrorRate("understanding_wer", wer.user_speech_texts)


def speech_text_wer() -> Metric:
    """TTS WER (intelligibility): the reference ASR's transcript of the spoken reply against the reply's text.

    (S + D + I) / N words, pooled over replies that were played to their end, normalized as in `understanding_wer`.
    """
    from fobench_plugins.metrics import wer

    return wer.ErrorRate("speech_text_wer", wer.reply_speech_texts)


def speech_text_cer() -> Metric:
    """TTS CER: the reference ASR's transcript of the spoken reply against the reply's text.

    (S + D + I) / N characters, pooled over replies that were played to their end, normalized as in `understanding_wer`.
    """
    from fobench_plugins.metrics import wer

    return wer.ErrorRate("speech_text_cer", wer.reply_speech_texts, per="chars")


def judge_floor_wer() -> Metric:
    """Reference-ASR WER on the clean prompt audio: the part of `speech_text_wer` that the reference ASR itself may
    cause.

    (S + D + I) / N words of the question's reference text, normalized as in `understanding_wer`.
    """
    from fobench_plugins.metrics import wer

    return wer.ErrorRate("judge_floor_wer", wer.clean_audio_texts)


def endpoint_ms() -> Metric:
    """End-of-turn delay (EOT): from the true end of the user's question to the system's decision to speak.

    Median in ms, p90 and p99 in detail; negative if the system decided before the end.
    """
    from fobench_plugins.metrics import latency

    return latency.Latency("endpoint_ms", latency.end_of_turn_delay)


def ttft_ms() -> Metric:
    """Time to first token (TTFT): from the decision to speak to the first LLM token of the reply.

    Median in ms; negative if the token had been generated before the decision.
    """
    from fobench_plugins.metrics import latency

    return latency.Latency("ttft_ms", latency.time_to_first_token)


def ttfa_ms() -> Metric:
    """Time to first audio (TTFA): from the decision to speak to the first audio packet of the reply.

    Median in ms; negative if the packet had been synthesized before the decision.
    """
    from fobench_plugins.metrics import latency

    return latency.Latency("ttfa_ms", latency.time_to_first_audio)


def response_ms() -> Metric:
    """Response latency, voice to voice: from the true end of the user's question to the first audible sample of the
    reply.

    Median in ms on the playback timeline; leading silence of the reply counts.
    """
    from fobench_plugins.metrics import latency

    return latency.Latency("response_ms", latency.response_latency)


def yield_decision_ms() -> Metric:
    """Barge-in decision latency: from the start of an interruption to the system's decision to stop.

    Median in ms over interruptions.
    """
    from fobench_plugins.metrics import latency

    return latency.Latency("yield_decision_ms", latency.barge_in_decision_latency)


def audible_stop_ms() -> Metric:
    """Barge-in stop latency: from the start of an interruption to the last audible sample of the interrupted reply.

    Median in ms over interruptions; the playback buffer's rest counts.
    """
    from fobench_plugins.metrics import latency

    return latency.Latency("audible_stop_ms", latency.barge_in_stop_latency)


def rtf_input() -> Metric:
    """Input real-time factor (RTF): compute time of the input path / duration of the user audio, summed over the
    run.
    """
    from fobench_plugins.metrics.real_time_factor import RealTimeFactor

    return RealTimeFactor("input")


def rtf_output() -> Metric:
    """Output real-time factor (RTF): compute time of the output path / duration of the generated audio, summed over
    the run.
    """
    from fobench_plugins.metrics.real_time_factor import RealTimeFactor

    return RealTimeFactor("output")


def underruns() -> Metric:
    """Playback underruns per reply: how often the playback buffer ran empty inside a reply, per played reply."""
    from fobench_plugins.metrics.playback_underruns import Underruns

    return Underruns("count")


def underrun_ms() -> Metric:
    """Duration of the playback underruns, in ms per played reply."""
    from fobench_plugins.metrics.playback_underruns import Underruns

    return Underruns("ms")


def takeover_rate() -> Metric:
    """Takeover rate (TOR): share of scenarios in which the system takes the floor.

    A takeover is a reply with at least 1 s of audible speech, or of more than 3 words (after Full-Duplex-Bench, arXiv
    2503.04721).
    """
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("takeover_rate", "none", turn_taking.takes_over)


def pause_takeover_rate() -> Metric:
    """Premature end of turn: share of scenarios with a pause inside the user's turn in which the system takes the floor
    there.

    A takeover as in `takeover_rate`, of speech that is audible in the pause or in the rest of the turn.
    """
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("pause_takeover_rate", "lower", turn_taking.takes_over_in_pause, version=2)


def turn_success() -> Metric:
    """Turn-taking success rate: share of scenarios in which the system is silent in the user's turn and speaks in its
    own.

    Both must hold: no audible speech while the user holds the floor (an interrupted reply ends within 2.0 s), and an
    audible reply after the question, which backchannels, side talk, background speech and noise do not end.
    """
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("turn_success", "higher", turn_taking.turn_succeeds, version=3)


def interrupts_user_rate() -> Metric:
    """False cut-in rate: share of scenarios in which the system begins to be audible while the user holds the floor."""
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("interrupts_user_rate", "lower", turn_taking.interrupts_user, version=2)


def response_after_interrupt() -> Metric:
    """Accuracy after barge-in: share of interruptions by a new question that are answered correctly, matched as in
    `accuracy_s2s`.
    """
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("response_after_interrupt", "higher", turn_taking.answers_interruption)


def yield_rate() -> Metric:
    """Barge-in success rate: share of interruptions of an audible reply after which the system decides to stop
    within 2.0 s.
    """
    from fobench_plugins.metrics.duplex import barge_in, floor_spans

    return barge_in.SoundRate(
        "yield_rate", "higher", floor_spans.interruptions, barge_in.yields_to_interruption, version=2
    )


def false_yield_rate() -> Metric:
    """False barge-in rate: share of sounds that do not claim the floor for which the system stops its reply.

    The sounds are backchannels, side talk, background speech and noise over an audible reply; a stop counts up to 2.0 s
    after the sound's end.
    """
    from fobench_plugins.metrics.duplex import barge_in, floor_spans

    return barge_in.SoundRate("false_yield_rate", "lower", floor_spans.non_claiming, barge_in.yields_falsely)


def resume_rate() -> Metric:
    """Share of sounds that do not claim the floor through which the system continues its reply, or resumes the same
    one.

    The sounds are those of `false_yield_rate`. A reply is resumed if it is audible for more than 1 s after the decision
    to stop.
    """
    from fobench_plugins.metrics.duplex import barge_in, floor_spans

    return barge_in.SoundRate("resume_rate", "higher", floor_spans.non_claiming, barge_in.keeps_reply)


def state_f1() -> Metric:
    """Macro F1 of the turn states 0, 1, 2 that the system predicts; one case per user utterance.

    0: the user goes on; 1: the turn is over, reply; 2: the turn is over, do not reply (arXiv 2411.00774, section 3.4).
    F1 of a state is 2 TP / (2 TP + FP + FN), averaged over the states that occur; the confusion matrix is in detail.
    """
    from fobench_plugins.metrics.duplex.states import StateF1

    return StateF1("state_f1", "states")


def decision_f1() -> Metric:
    """Macro F1 of the system's decisions, as `state_f1`: to speak (1), to ignore (2), or none (0)."""
    from fobench_plugins.metrics.duplex.states import StateF1

    return StateF1("decision_f1", "decisions")


def state_delay_chunks() -> Metric:
    """Delay of the predicted turn state: input chunks from the true end of the user's utterance to the first state 1 or
    2.

    Median in chunks; negative if the state was predicted before the end.
    """
    from fobench_plugins.metrics.duplex.states import StateDelay

    return StateDelay()


def dnsmos() -> Metric:
    """DNSMOS P.835 overall speech quality of the reply's audio, 1 to 5 (arXiv 2110.01763).

    SIG, BAK and P.808 MOS in detail.

    Mean over scenarios with a 95 % bootstrap interval; no reference audio is used.
    """
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
