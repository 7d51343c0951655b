"""Built-in metrics: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from functools import partial

from fobench.api.components import Metric
from fobench.api.hookspecs import Factories
from fobench.api.option_ranges import Margin, Retries, Seconds, StepSeconds, Workers
from fobench_plugins.metrics import duplex


def accuracy_t2t() -> Metric:
    """Accuracy of text in, text out: the frozen LLM answers the question's reference text.

    Correct replies / scenarios with accepted answers. A reply is correct if it contains an accepted answer after text
    normalization, or picks the right option of a multiple-choice question; Wilson's 95 % interval. Words are matched, not
    meaning: "it is not Paris" contains Paris. Thoughts of a reasoning model are left out.
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


def parity(margin: Margin = 3.0) -> Metric:
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

    (S + D + I) / N words, pooled over utterances, both sides normalized by `fobench-en-2`: spelling, contractions and
    numbers in one form, each digit of a number a word, and in scripts without blanks (Chinese, Thai, ...) each
    character. A question that the system ignored counts as all deletions (`n_ignored`).
    """
    from fobench_plugins.metrics import wer

    return wer.ErrorRate("understanding_wer", wer.user_speech_texts)


def understanding_wer_whisper() -> Metric:
    """ASR WER on user speech as `understanding_wer`, normalized by Whisper's English normalizer (`whisper-en-1`; arXiv
    2212.04356, app. C), for comparison with published WERs.
    """
    from fobench.scoring.text_normalization import WHISPER_NORMALIZER
    from fobench_plugins.metrics import wer

    return wer.ErrorRate("understanding_wer_whisper", wer.user_speech_texts, normalizer=WHISPER_NORMALIZER, version=1)


def speech_text_wer() -> Metric:
    """TTS WER (intelligibility): the reference ASR's transcript of the spoken reply against the reply's text.

    (S + D + I) / N words, pooled over replies that were played to their end, normalized as in `understanding_wer`.
    """
    from fobench_plugins.metrics import wer

    return wer.ErrorRate("speech_text_wer", wer.reply_speech_texts)


def speech_text_wer_whisper() -> Metric:
    """TTS WER as `speech_text_wer`, normalized by Whisper's English normalizer (`whisper-en-1`; arXiv 2212.04356,
    app. C), for comparison with published WERs.
    """
    from fobench.scoring.text_normalization import WHISPER_NORMALIZER
    from fobench_plugins.metrics import wer

    return wer.ErrorRate("speech_text_wer_whisper", wer.reply_speech_texts, normalizer=WHISPER_NORMALIZER, version=1)


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

    Median in ms over decisions from the end on, p90 and p99 in detail; earlier decisions, which are negative in a
    scenario, and questions without one are counted beside it (`early`, `early_share`, `unanswered`).
    """
    from fobench_plugins.metrics import latency

    return latency.Latency("endpoint_ms", latency.end_of_turn_delay, counts_failures=True, version=2)


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

    Median in ms on the playback timeline over replies in time; leading silence of the reply counts. Replies before the
    user's end, which are negative in a scenario, and questions without a reply are counted beside it (`early`,
    `early_share`, `unanswered`), so that neither improves it; `p50_all` is the median if they count as later than any.
    """
    from fobench_plugins.metrics import latency

    return latency.Latency("response_ms", latency.response_latency, counts_failures=True, version=2)


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


def tokens_input() -> Metric:
    """Input tokens per conversation, as the system reports them; by kind (text, audio, cached) in detail.

    Mean over conversations whose system reports usage, which servers of the Realtime protocol do, and any system can by an
    event `busy` with data {"work": "usage", "usage": {...}, "model": name}.
    """
    from fobench_plugins.metrics.costs import Tokens

    return Tokens("input")


def tokens_output() -> Metric:
    """Output tokens per conversation, as the system reports them; by kind (text, audio) in detail."""
    from fobench_plugins.metrics.costs import Tokens

    return Tokens("output")


def cost_per_minute(prices: str | None = None) -> Metric:
    """Money per minute of spoken conversation, by a price table: `fobench score RUN --metric cost_per_minute --metric-args
    prices=FILE`.

    Sum of (reported tokens and seconds x price) / sum of minutes, in the table's currency; costs by kind, and minutes in and
    out, in detail. A kind of token without a price leaves the conversation without a value, never at 0. Questions by text are
    not in it. `prices`: a TOML file of your own, as docs/prices.toml shows; fobench ships no vendor's prices. Tokens that a
    server reports as cached without their kind are charged as if they were not.
    """
    from pathlib import Path

    from fobench_plugins.metrics.costs import CostPerMinute, load_prices

    return CostPerMinute(load_prices(Path(prices)) if prices else None)


def dnsmos() -> Metric:
    """DNSMOS P.835 overall speech quality of the reply's audio, 1 to 5 (arXiv 2110.01763).

    SIG, BAK and P.808 MOS in detail.

    Mean over scenarios with a 95 % bootstrap interval; no reference audio is used.
    """
    from fobench_plugins.metrics.dnsmos import Dnsmos

    return Dnsmos()


def llm_judge(
    model: str,
    *,
    endpoint: str = "",
    key_variable: str = "OPENAI_API_KEY",
    time_limit_s: StepSeconds = 60.0,
    retries: Retries = 3,
    backoff_s: Seconds = 1.0,
    parallel: Workers = 4,
) -> Metric:
    """Accuracy on open answers by an LLM judge, per route, beside the string match; only by name: `fobench score RUN
    --metric llm_judge:MODEL`.

    The judge sees the question, the accepted answers and the reply, as data, under the fixed rubric `fobench-judge-1`, at
    temperature 0, and answers CORRECT or INCORRECT. It reads meaning, so it also finds what a string match cannot: negations
    ("it is not Paris"). `llm_judge_t2t` (`..._a2t2t`, `..._s2t`, `..._s2s`) = CORRECT / replies with a verdict, with Wilson's
    95 % interval; requests that failed and answers without a verdict are not scored, and counted (`n_unanswered`,
    `n_unparsed`). `llm_judge_agreement_t2t` (...) = verdicts that agree with the string match, with Cohen's `kappa` and the
    2 x 2 `table`. A missing reply and a failure of the system are wrong without asking; multiple choice is left to its parser.

    `endpoint`: base URL of an OpenAI-compatible server that has the model. Nothing is sent anywhere without one: the model is
    then a backbone of `fobench ls backbones`, on this machine, decoded greedily. `key_variable`: the environment variable
    with the endpoint's API key, which is never recorded; empty: none is sent. A request has `time_limit_s` seconds; status
    429, 5xx and lost connections are tried again `retries` times, after `backoff_s`, twice that, and so on. `parallel`:
    requests at a time. The rubric, the model and the endpoint's host are recorded with the answers in model_answers.jsonl of
    the run, from which `fobench score RUN` scores again without a model; named again, a judge is asked only what it has not
    answered.
    """
    from fobench_plugins.metrics.chat_endpoint import ChatEndpoint, checked_url
    from fobench_plugins.metrics.llm_judge import LlmJudge

    if not endpoint:
        return LlmJudge(model, None, 1, "")
    make = partial(
        ChatEndpoint,
        endpoint,
        model,
        key_variable=key_variable,
        time_limit_s=time_limit_s,
        retries=retries,
        backoff_s=backoff_s,
    )
    return LlmJudge(model, make, parallel, checked_url(endpoint).netloc)


NAMED = (
    *(accuracy_t2t, accuracy_a2t2t, accuracy_s2t, accuracy_s2s, parity),
    *(understanding_wer, speech_text_wer, speech_text_cer, judge_floor_wer),
    *(understanding_wer_whisper, speech_text_wer_whisper),
    *(endpoint_ms, ttft_ms, ttfa_ms, response_ms, yield_decision_ms, audible_stop_ms),
    *duplex.NAMED,
    *(rtf_input, rtf_output, underruns, underrun_ms, dnsmos),
    *(tokens_input, tokens_output, cost_per_minute),
)
FACTORIES: Factories = {**{factory.__name__: factory for factory in NAMED}, "llm_judge:": llm_judge}
