"""Planted regressions are caught by this project's own gate, the clean re-run is not; declared costs replay behaviour."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from fobench.api import registry
from fobench.cli.main import main

ROOT = Path(__file__).parents[2]
GATED = (
    "--config",
    "reports/baselines/controls.toml",
    "--limit",
    24,
)  # some gates are inconclusive with so few: exit code 3
HEARS, WRITES = "hears=Which city is the capital of France?", "writes=The capital of France is Paris."
CASCADE = (
    *("--system", "cascade", "--costs", "declared:reports/baselines/cascade-costs.json"),
    *("--judge", "faster-whisper", "--no-text-routes"),  # a third of the time that the default's judge and routes take
)
FEW = ("--limit", 24)  # what is so much worse shows in these; that nothing is takes 60
LATE = ("--suite", "controls", "--judge", "none", "--system", "scripted:late", "--limit", 12)


def run(folder: Path, *arguments: object, expect: int) -> str:
    """`fobench run`; returns what it printed."""
    command = ["run", *map(str, arguments), "--output", str(folder)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == expect, result.output + repr(result.exception)
    return result.output


def verdicts(folder: Path) -> dict[str, str]:
    data = json.loads((folder / "comparison.json").read_text())
    return {gate["figure"]: gate["verdict"] for gate in data["gates"]}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "options", "caught"),
    [
        ("scripted:yields", ("answer_ms=900", HEARS, WRITES), {"response_ms.p50", "endpoint_ms.p50"}),
        ("scripted:yields", (HEARS, "writes=It is London, I think."), {"accuracy_s2t"}),
        ("scripted:yields", ("hears=Which city is the capital of Greece?", WRITES), {"understanding_wer"}),
        ("scripted:yields-always", ("delay_ms=400", HEARS, WRITES), {"false_yield_rate"}),
    ],
    ids=["decides 200 ms later", "answers worse", "hears worse", "yields to noises"],
)
def test_a_planted_regression_is_caught(system, options, caught, tmp_path):
    arguments = [part for option in options for part in ("--system-args", option)]
    told = run(tmp_path / "run", *GATED, "--system", system, *arguments, expect=1)
    assert "Regression: " in told
    assert caught <= {figure for figure, verdict in verdicts(tmp_path / "run").items() if verdict == "regression"}


@pytest.mark.slow
def test_a_clean_run_passes_all_gates(tmp_path):
    run(tmp_path / "run", "--config", "reports/baselines/controls.toml", expect=0)
    assert {*verdicts(tmp_path / "run").values()} == {"ok"}
    data = json.loads((tmp_path / "run" / "comparison.json").read_text())
    assert data["changed"] == {}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A run with measured costs; its table, `costs.json`, is declared to the runs after it."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    run(folder, *LATE, expect=0)
    return folder


@pytest.mark.slow
def test_recorded_costs_replay_to_the_bit_and_show_behavior_alone(recorded, tmp_path):
    declared = (*LATE, "--costs", f"declared:{recorded / 'costs.json'}")
    run(tmp_path / "base", *declared, expect=0)
    run(tmp_path / "again", *declared, expect=0)
    assert (tmp_path / "again" / "scores.json").read_bytes() == (tmp_path / "base" / "scores.json").read_bytes()
    later = (*declared, "--system-args", "decide_ms=640", "--system-args", "delay_ms=740")  # two chunks more
    gates = ("--baseline", tmp_path / "base", "--fail-on", "response_ms:30ms", "--fail-on", "rtf_input:5%")
    told = run(tmp_path / "later", *later, *gates, expect=1)
    assert "Regression: Response p50 +40 ms" in told
    assert verdicts(tmp_path / "later")["rtf_input"] == "ok"


@pytest.fixture(scope="module")
def cascade(tmp_path_factory) -> Path:
    """A run of the real cascade on declared costs. Needs the models and some minutes."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("cascade") / "base"
    run(folder, *CASCADE, "--limit", 60, expect=0)
    return folder


@pytest.mark.slow
def test_the_real_cascade_again_passes(cascade, tmp_path):
    run(tmp_path / "again", *CASCADE, "--limit", 60, *held_to(cascade), expect=0)
    used = [json.loads((folder / "run.json").read_text())["assets"] for folder in (cascade, tmp_path / "again")]
    assert used[0] == used[1]
    assert {"whisper-tiny.en-ct2", "smollm2-135m-gguf", "piper-joe-medium", "silero-vad"} == used[0].keys()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="the voice program espeak-ng is not installed")
def test_a_worse_voice_of_the_real_cascade_is_caught(cascade, tmp_path):
    run(tmp_path / "worse", *CASCADE, *FEW, "--system-args", "voice=espeak", *held_to(cascade), expect=1)
    assert verdicts(tmp_path / "worse")["speech_text_wer"] == "regression"


@pytest.mark.slow
def test_an_llm_quantized_too_far_is_caught(cascade, tmp_path):
    crush(tmp_path / "crushed")
    run(tmp_path / "worse", *CASCADE, *FEW, "--backbone", f"hf:{tmp_path / 'crushed'}", *held_to(cascade), expect=1)
    assert verdicts(tmp_path / "worse")["accuracy_s2t"] == "regression"


def held_to(base: Path) -> tuple[object, ...]:
    return ("--baseline", base, "--fail-on", "accuracy_s2t:5pp", "--fail-on", "speech_text_wer:2pp")


def crush(folder: Path) -> None:
    """SmolLM2-135M with every weight of its layers rounded to two bits, a scale a row."""
    backbone = registry.create("backbones", "smollm2-135m", {"dtype": "float32"})
    for name, weight in backbone.model.named_parameters():
        if ".layers." in name and weight.ndim == 2:
            step = weight.data.abs().amax(1, keepdim=True) / 2
            weight.data = (weight.data / step).round().clamp(-2, 1) * step
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
