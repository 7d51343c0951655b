"""What judging a reply takes: the reference ASR and DNSMOS on a spoken question of the suite, which stands for a reply.

Run: pytest tests/bench/test_judge_speed.py --benchmark-columns=median,iqr
Needs the asset whisper-tiny.en-ct2 (fobench assets pull).
"""

import pytest

from fobench import audio
from fobench.api import registry
from fobench.execution.judge import Judge

QUESTION = 200  # none of those by which anything is chosen


@pytest.fixture(scope="module")
def reply():
    scenario = list(registry.create("suites", "spoken-qa").scenarios(0))[QUESTION]
    return audio.load(scenario.question.audio)


@pytest.fixture(scope="module")
def judge():
    return Judge(registry.spec("recognizers", "whisper"), ("dnsmos",))


def per_second(benchmark, reply):
    benchmark.extra_info["s_per_s_of_audio"] = benchmark.stats["median"] / (len(reply.samples) / reply.rate_hz)


def test_reference_asr(benchmark, judge, reply):
    """The reference ASR's transcript of one reply."""
    text, _ = benchmark.pedantic(lambda: judge.hear(reply), rounds=4, warmup_rounds=1)
    per_second(benchmark, reply)
    assert text


def test_dnsmos(benchmark, judge, reply):
    """DNSMOS of one reply."""
    measured, failed, _ = benchmark.pedantic(lambda: judge.measure(reply), rounds=4, warmup_rounds=1)
    per_second(benchmark, reply)
    assert measured["dnsmos"] and not failed
