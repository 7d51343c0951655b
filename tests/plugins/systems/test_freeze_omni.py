"""Freeze-Omni as a system, with random weights: conformance suite, harness and command line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from fobench.api import registry
from fobench.cli.main import main
from fobench.conformance.suite import check
from fobench.errors import FobenchError, PrerequisiteError
from fobench.storage.run_config import default_system
from fobench_plugins.systems.freeze_omni import freeze_omni
from reference_model.checkpoint import loading
from reference_model.checkpoint.loading import untrained
from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.segmenter import Segmentation
from reference_model.speech_output.speech_decoder import EOS
from tests.model import any_llm
from tests.support.tiny_models import SHAPES, folder

VAD = {"vad": "loudness", "turn_end": "vad"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny model that says something at any rate: eight tokens a segment, half a second each."""
    model = untrained("tiny")
    with torch.no_grad():
        model.decoder.out.bias[model.decoder.special(EOS)] -= 99
        model.codec.generator.post.weight *= 3
    settings = replace(model.config.settings, text=Sampling(temperature=99.0), segmentation=Segmentation(most=8))
    decoder = replace(model.config.decoder, max_frames=20)
    model.config = replace(model.config, settings=settings, decoder=decoder)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    loading.save(model, path)
    return str(path)


@pytest.mark.parametrize(
    "shape", [shape if shape == "qwen2" else pytest.param(shape, marks=pytest.mark.slow) for shape in SHAPES]
)
def test_it_keeps_the_contract_with_any_architecture(shape, checkpoint):
    options = {"backbone": f"hf:{folder(shape)}", "checkpoint": checkpoint, "device": "cpu", "dtype": "float32", **VAD}
    findings = check("systems", "freeze-omni", options)
    assert {c.name: c.message for c in findings if not c.ok} == {}


@pytest.mark.subprocess
def test_it_runs_through_the_harness(checkpoint, tmp_path):
    """Audio in, states, text, codec tokens, audio out, an interruption and a new reply; the backbone stays as it was."""
    args = ["run", "--checkpoint", checkpoint, "--backbone", f"hf:{folder('qwen2')}", "-s", "controls", "-L", "1"]
    args += ["--suite-args", "families=interruption"]
    args += ["--judge", "none", "--device", "cpu", "--dtype", "float32", "-o", str(tmp_path / "run")]
    args += [f"--system-args={key}={value}" for key, value in VAD.items()]
    result = CliRunner().invoke(main, args)
    assert result.exit_code in (0, 1), result.output
    traces = [json.loads(line) for line in (tmp_path / "run" / "traces.jsonl").read_text().splitlines()]
    assert [trace["failure"] for trace in traces] == [None]
    kinds = {event["kind"] for trace in traces for event in trace["events"]}
    assert {"state", "decision", "token", "audio", "reply_end"} <= kinds
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["components"]["system"]["trained"] is True


@pytest.mark.parametrize(("shape", "hidden"), [("qwen2", 64), ("llama3", 96)])
def test_a_checkpoint_for_any_llm_keeps_the_contract(shape, hidden, tmp_path):
    loading.save(any_llm.model(), tmp_path / "any.safetensors")
    options = {"backbone": f"hf:{folder(shape, hidden)}", "checkpoint": str(tmp_path / "any.safetensors"), **VAD}
    findings = check("systems", "freeze-omni", {**options, "device": "cpu", "dtype": "float32"})
    assert {c.name: c.message for c in findings if not c.ok} == {}


def test_random_weights_are_reported():
    options = {"backbone": f"hf:{folder('qwen2')}", "checkpoint": "untrained:tiny", "device": "cpu", **VAD}
    about = registry.create("systems", "freeze-omni", options).about()
    assert about["trained"] is False


# ---- choosing --------------------------------------------------------------------------------------------------------


def test_every_backbone_gets_freeze_omni_and_none_the_cascade_unasked():
    for backbone in ("qwen2-7b", "llama-3.2-1b", "hf:my/model", "smollm2-135m,qwen2.5-coder-0.5b", None):
        assert default_system(backbone, None) == "freeze-omni"
    assert default_system("smollm2-135m", "untrained:small") == "freeze-omni"


def test_without_a_checkpoint_for_any_llm_the_others_get_the_cascade(monkeypatch):
    own = {name: make for name, make in registry.factories("checkpoints").items() if not name.endswith("/any")}
    whole = registry.factories
    monkeypatch.setattr(registry, "factories", lambda kind: own if kind == "checkpoints" else whole(kind))
    assert default_system("qwen2-7b", None) == "freeze-omni"
    assert default_system("llama-3.2-1b", None) == "cascade"
    with pytest.raises(FobenchError, match=r"no checkpoint for backbone 'llama-3.2-1b': there are some for .*qwen2-7b"):
        freeze_omni(backbone="llama-3.2-1b")


def test_all_that_the_published_model_lacks_is_reported_together(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PrerequisiteError) as error:
        registry.create("systems", "freeze-omni", {"backbone": "qwen2-7b", "backbone_args": {"offline": True}})
    for said in (
        "VITA-MLLM/Freeze-Omni",
        "1.50 GB",
        "research use only",
        "hf download VITA-MLLM/Freeze-Omni",
        "15.2 GB",
    ):
        assert said in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "untrained:tiny"}, "'untrained:tiny' names no backbone that it was made for"),
        ({"backbone": "qwen2-7b", "vad": "loud"}, "must be one of silero, loudness, none"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(options, message):
    with pytest.raises(FobenchError, match=message):
        registry.create("systems", "freeze-omni", options)


def test_a_checkpoint_of_another_backbone_is_refused(checkpoint):
    options = {"backbone": f"hf:{folder('qwen2', 32)}", "checkpoint": checkpoint, "device": "cpu", **VAD}
    with pytest.raises(FobenchError, match=r"made for backbone one of hidden size 64 .*; .* has 32"):
        registry.create("systems", "freeze-omni", options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.safetensors", "no checkpoint nowhere"),
        ("untrained:huge", "huge"),
        ("broken", "not a safetensors file"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_is_named(name, message, tmp_path):
    if name == "broken":
        (tmp_path / "broken.safetensors").write_bytes(b"0123456789")
        name = str(tmp_path / "broken.safetensors")
    with pytest.raises(FobenchError, match=message):
        registry.create("systems", "freeze-omni", {"backbone": f"hf:{folder('qwen2')}", "checkpoint": name, **VAD})
