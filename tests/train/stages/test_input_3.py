"""Input stage 3 on tiny models: the head learns states, the prompts learn to be answered, and what it writes can be used."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from reference_model.checkpoint import loading, safetensors_io
from reference_model.model import FreezeOmni
from reference_model.train.engine import checkpoints as saved
from reference_model.train.engine import training_log
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.stages import input_3
from reference_model.train.turn_taking import head_feature_cache, head_metrics
from reference_model.train.turn_taking.head_metrics import HeadDecision
from reference_model.train.turn_taking.prompt_tuning import Exchange, PromptTuningLearner
from reference_model.train.turn_taking.vad_turns import VadTurn
from reference_model.turn_taking.state_head import TurnState
from tests.model import any_llm
from tests.support.tiny_models import backbone, folder
from tests.train.turn_taking.test_examples import RATE, TEXTS, words
from tests.train.turn_taking.test_head_features import rows, spelling

REPLIES = {"question": "The Thames.", "command": "Done.", "statement": "I see."}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A manifest of clips of every kind, for training and validation."""
    place, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    lines = []
    for split in ("train", "valid"):
        for kind, text in TEXTS.items():
            for number in range(3):
                name = f"{split}-{kind}-{number}.wav"
                soundfile.write(place / name, words(text, rng), RATE)
                lines.append({"audio": name, "text": text, "kind": kind, "id": name, "split": split})
    (place / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    answers = [{"id": kind, "question": TEXTS[kind], "reply": reply} for kind, reply in REPLIES.items()]
    (place / "replies.jsonl").write_text("".join(json.dumps(line) + "\n" for line in answers))
    return place


def use_prompt():
    """A model whose prompt weighs much in what the LLM is given."""
    config = rows().config
    torch.manual_seed(0)
    return FreezeOmni(replace(config, prompts=16, settings=replace(config.settings, system_prompt=""))).eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    for name, made in (("rows", rows()), ("spelling", spelling()), ("use_prompt", use_prompt())):
        loading.save(made, place / f"{name}.safetensors", storage=None)
    return place


PARTS = """
[encoder]
kind = "whisper"
size = 32
layers = 2
heads = 4
left_chunks = 2
[adapter]
kind = "spelling"
encoder_size = 32
[decoder]
thoughts = false
llm_rows = false
characters = 8
[codec]
kind = "reference"
"""
FEW = ("--count", "20")  # situations, of which a tenth validate


def run(init, data, out, *args, llm="smollm2", **loop):
    settings = {"steps": 60, "batch_most": 16, "lr": 0.01, "warmup": 1, **loop}
    command = ["--config", "tiny", "--init", str(init), "--data", str(data / "manifest.jsonl"), "--out", str(out)]
    command += ["--vad", "loudness", "--backbone", f"hf:{folder(llm)}", "--count", "80", *args]
    result = CliRunner().invoke(input_3.main, [*command, *(f"--set={k}={v}" for k, v in settings.items())])
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("kind", ["rows", "spelling"])
def test_the_head_learns_states(models, data, tmp_path, kind):
    run(models / f"{kind}.safetensors", data, tmp_path)
    losses = [value for _, value in training_log.read(tmp_path)["loss"]]
    assert np.mean(losses[-5:]) < 0.6 * losses[0]
    states = json.loads((tmp_path / input_3.STATES).read_text())
    assert states["situations"] == 8
    assert 0 <= states["macro_f1"] <= 1
    assert sum(sum(row.values()) for row in states["confusion"].values()) == 8


def test_the_model_it_writes_differs_in_the_head_alone_and_is_judged_the_same(models, data, tmp_path):
    init = models / "spelling.safetensors"
    run(init, data, tmp_path / "out", steps=5)
    old, new = loading.load(init, device="cpu"), loading.load(tmp_path / "out/tiny.safetensors", device="cpu")
    changed = {
        k.split(".")[0] for k, v in new.state_dict().items() if not torch.allclose(v, old.state_dict()[k], atol=1e-2)
    }
    assert changed == {"state_head"}
    run(tmp_path / "out/tiny.safetensors", data, tmp_path / "again", "--evaluate")
    trained, judged = (json.loads((tmp_path / name / input_3.STATES).read_text()) for name in ("out", "again"))
    assert trained["confusion"] == judged["confusion"]
    assert not saved.checkpoints(tmp_path / "again")


def test_a_head_for_any_llm_learns_from_several(data, tmp_path):
    """Half of its examples come from either; afterwards the model is for any LLM, whatever it was before."""
    loading.save(any_llm.model(), tmp_path / "any.safetensors", storage=None)
    (tmp_path / "any.toml").write_text(
        'llm_size = 0\nprompts = 0\nstate_inputs = ["evidence", "language"]\nstate_middle = 8\nstate_memory = 8\n'
        + PARTS
    )
    more = ["--config", str(tmp_path / "any.toml"), "--backbone", f"hf:{folder('llama3', 32)}"]
    run(tmp_path / "any.safetensors", data, tmp_path / "out", *more)
    losses = [value for _, value in training_log.read(tmp_path / "out")["loss"]]
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    about, _ = safetensors_io.load(saved.newest_checkpoint(tmp_path / "out") / saved.MODEL)
    assert (about["llm_size"], about["state_inputs"], about["state_middle"]) == (0, ["evidence", "language"], 8)
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} >= {"train", "train-2", "valid"}
    assert loading.made_for(tmp_path / "out/tiny.safetensors") == loading.ANY


def test_a_head_on_hidden_states_learns_from_one_llm(models, data, tmp_path):
    command = [
        "--init",
        str(models / "spelling.safetensors"),
        "--data",
        str(data / "manifest.jsonl"),
        "--config",
        "tiny",
    ]
    llms = [part for shape in ("smollm2", "qwen2") for part in ("--backbone", f"hf:{folder(shape)}")]
    result = CliRunner().invoke(input_3.main, [*command, *llms, "--out", str(tmp_path), "--vad", "none"])
    assert result.exit_code == 2 and "fit one LLM: give one --backbone" in result.stderr


def test_impressions_are_made_once(models, data, tmp_path, monkeypatch):
    run(models / "spelling.safetensors", data, tmp_path, *FEW, steps=2)
    made = []
    monkeypatch.setattr(head_feature_cache.HeadFeatureExtractor, "extract", lambda self, turns: made.append(len(turns)))
    run(models / "spelling.safetensors", data, tmp_path, *FEW, steps=4)
    assert not made


def test_what_was_made_before_it_was_stopped_is_kept(models, data, tmp_path, monkeypatch):
    monkeypatch.setattr(head_feature_cache, "FILE", 3)
    run(models / "spelling.safetensors", data, tmp_path, "--evaluate")
    files = sorted((tmp_path / "valid").glob("*.safetensors"))
    whole = [file.read_bytes() for file in files]
    assert len(files) == 3
    files[1].unlink()
    made, impressions = [], head_feature_cache.HeadFeatureExtractor.extract
    monkeypatch.setattr(
        head_feature_cache.HeadFeatureExtractor,
        "extract",
        lambda self, turns: made.append(len(turns)) or impressions(self, turns),
    )
    run(models / "spelling.safetensors", data, tmp_path, "--evaluate")
    assert made == [3]
    assert [file.read_bytes() for file in files] == whole


def test_it_begins_with_an_earlier_stages_encoder_and_adapter(data, tmp_path):
    parts = {k: v for k, v in rows().state_dict().items() if k.startswith(("encoder.", "adapter."))}
    config = {name: asdict(getattr(rows().config, name)) for name in ("encoder", "adapter")}
    safetensors_io.save_tensors(parts, config, tmp_path / "stage.safetensors")
    run(tmp_path / "stage.safetensors", data, tmp_path / "out", *FEW, steps=2)
    learnt, tensors = safetensors_io.load(saved.newest_checkpoint(tmp_path / "out") / saved.MODEL)
    sizes = {"llm_size": 64, "evidence": 0, "state_middle": 0, "state_memory": 0, "prompts": 4}
    assert learnt == {**sizes, "state_inputs": ["hidden", "evidence"]}
    assert set(tensors) == {"prompt", "state_head.linear.weight", "state_head.linear.bias"}


def test_impressions_of_another_model_are_not_taken(models, data, tmp_path):
    run(models / "spelling.safetensors", data, tmp_path, *FEW, steps=2)
    file = tmp_path / "valid/situations-000000.safetensors"
    before = file.read_bytes()
    run(models / "rows.safetensors", data, tmp_path, *FEW, "--evaluate")
    assert file.read_bytes() != before


def test_several_processes_make_the_same_situations(models, data, tmp_path):
    for workers in ("0", "2"):
        run(models / "rows.safetensors", data, tmp_path / workers, "--evaluate", "--workers", workers)
    one, two = ((tmp_path / n / "valid/situations-000000.safetensors").read_bytes() for n in ("0", "2"))
    assert one == two


@pytest.mark.slow
def test_prompts_learn_beside_the_head_and_nothing_else_does(models, data, tmp_path):
    init, args = models / "use_prompt.safetensors", ["--replies", str(data / "replies.jsonl")]
    run(init, data, tmp_path, *args, llm="llama3", steps=30, batch_most=8, lr=0.1, validate_every=3)
    log = training_log.read(tmp_path)
    by_ear = [value for _, value in log["valid_reply"]]  # of random weights, whose logits hardly differ: ln 260 = 5.56
    assert by_ear[-1] < by_ear[0] - 0.04
    assert log["state"][-1][1] < 0.8 * log["state"][0][1]
    old, new = (loading.load(path, device="cpu").state_dict() for path in (init, tmp_path / "tiny.safetensors"))
    changed = {key.split(".")[0] for key, value in new.items() if not torch.allclose(value, old[key], atol=1e-2)}
    assert changed == {"prompt", "state_head"}


@pytest.mark.parametrize("args", [[], ["--distil"]])
def test_before_what_is_spelt_prompts_learn_first_and_then_the_head(models, data, tmp_path, args):
    init, replies = models / "spelling.safetensors", ["--replies", str(data / "replies.jsonl")]
    run(init, data, tmp_path, *replies, *args, *FEW, steps=4, batch_most=8, lr=0.1)
    old, new = (loading.load(path, device="cpu") for path in (init, tmp_path / "tiny.safetensors"))
    assert (old.config.prompts, new.config.prompts) == (0, 4)
    learnt = [
        safetensors_io.load(saved.newest_checkpoint(place) / saved.MODEL)[1]
        for place in (tmp_path / "prompts", tmp_path)
    ]
    assert learnt[0]["prompt"].abs().mean() > 0.05  # at first about 0.016: it has learnt
    assert torch.equal(learnt[0]["prompt"], learnt[1]["prompt"])
    assert torch.allclose(new.prompt, learnt[0]["prompt"], atol=1e-2)
    assert [step for step, _ in training_log.read(tmp_path / "prompts")["valid_reply_kl"]]


@pytest.mark.parametrize("distil", [False, True])
def test_a_prompt_can_bring_the_reply_nearer(distil):
    learner = PromptTuningLearner(use_prompt(), FrozenLLM(backbone("llama3")), distil, state_weight=0.0)
    turn = VadTurn(
        "question", TurnState.ANSWER, torch.randn(48, 80), None, 0, torch.tensor([-0.2, -0.04, 0.12]), "Hello?"
    )
    exchange = Exchange(turn, tuple(learner.extractor.frozen.backbone.encode("Hi.")))
    optimiser, losses = torch.optim.Adam([learner.prompt], 0.03), []
    for _ in range(40):
        loss = learner([exchange])["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < (0.5 if distil else 0.98) * losses[0]
    learner.extractor.frozen.check_unchanged()


def test_a_model_without_prompts_has_nothing_to_distil(models, data, tmp_path):
    command = ["--init", str(models / "spelling.safetensors"), "--data", str(data / "manifest.jsonl"), "--distil"]
    command += ["--out", str(tmp_path), "--config", "tiny", "--vad", "none", "--backbone", f"hf:{folder('smollm2')}"]
    result = CliRunner().invoke(input_3.main, command)
    assert result.exit_code == 2
    assert "--distil needs --replies and a model with prompts" in result.stderr
    assert "Traceback" not in result.output


# ---- verdicts ----------------------------------------------------------------------------------------------------------


def verdict(p, since, kind="question", wanted=TurnState.ANSWER):
    rows = torch.tensor([[1 - a - i, a, i] for a, i in p])
    return HeadDecision.of(kind, int(wanted), rows, torch.tensor(since))


def test_the_first_chunk_that_calls_for_something_decides():
    one = verdict([(0.1, 0.2), (0.2, 0.7), (0.9, 0.0)], [-0.2, 0.1, 0.3])
    assert (one.predicted, one.is_correct) == (TurnState.IGNORE, False)
    assert one.delay_s == pytest.approx(0.1)


def test_an_answer_before_the_end_is_early_and_wrong():
    assert verdict([(0.9, 0)], [-0.5]).outcome == "early answer"
    assert not verdict([(0.9, 0)], [-0.5]).is_correct
    assert verdict([(0.9, 0)], [-0.05]).is_correct  # within the last sound
    assert verdict([(0.9, 0)], [-0.5], wanted=TurnState.KEEP_LISTENING).outcome == "answer"


def test_to_listen_on_is_the_right_thing_for_what_does_not_end():
    assert verdict([(0.4, 0.4)] * 9, [-0.1] * 9, "unfinished", TurnState.KEEP_LISTENING).is_correct
    assert not verdict([(0.4, 0.4)] * 9, [0.2] * 9).is_correct


def test_a_report_of_known_verdicts():
    right = verdict([(0.1, 0), (0.9, 0)], [0.1, 0.26])
    late = verdict([(0.1, 0), (0.9, 0)], [0.1, 0.42])
    early = verdict([(0.9, 0)], [-1.0], "paused")
    waits = verdict([(0.0, 0.0)], [0.5], "unfinished", TurnState.KEEP_LISTENING)
    ignores = verdict([(0.0, 0.9)], [0.2], "backchannel", TurnState.IGNORE)
    found = head_metrics.report([right, late, early, waits, ignores])
    assert found["answer_delay_ms"] == {"p50": 340.0, "p90": 404.0, "n": 2}
    assert found["takeovers_in_pauses"]["share"] == 1.0
    assert found["answers_to_unfinished"]["share"] == 0.0
    assert found["confusion"]["answer"] == {"listen": 0, "answer": 2, "ignore": 0, "early answer": 1}
    assert found["macro_f1"] == pytest.approx((1 + 4 / 6 + 1) / 3, abs=1e-4)
    assert json.loads(json.dumps(found)) == found


def test_macro_f1_is_one_for_all_right_and_low_for_always_listening():
    wanted = [TurnState.ANSWER] * 5 + [TurnState.IGNORE] * 5 + [TurnState.KEEP_LISTENING] * 5
    right = [HeadDecision("question", state, state, 0.2) for state in wanted]
    assert head_metrics.macro_f1(right) == 1.0
    deaf = [replace(one, predicted=TurnState.KEEP_LISTENING, delay_s=None) for one in right]
    assert head_metrics.macro_f1(deaf) == pytest.approx((2 * 5 / 20) / 3)


def test_the_reply_is_learned_from_where_it_begins():
    """By hand, of one exchange: the loss of the reply is that of the whole conversation's tokens at its place."""
    model, frozen = rows(), FrozenLLM(backbone("smollm2"))
    learner = PromptTuningLearner(model, frozen).eval()
    turn = VadTurn(
        "question", TurnState.ANSWER, torch.randn(48, 80), None, 0, torch.tensor([-0.2, -0.04, 0.12]), "Hello?"
    )
    reply = tuple(frozen.backbone.encode("Hi."))
    with torch.no_grad():
        heard = learner.extractor.adapter_outputs([turn])[0]
        layout = learner.extractor.layout
        x = [frozen.embed(layout.opening), model.prompt, heard, frozen.embed([*layout.reply_open, *reply])]
        log_p = frozen.logits(frozen.hidden(torch.cat(x)[None])[0]).log_softmax(-1)
        at = sum(map(len, x[:3])) + len(layout.reply_open)
        wanted = -np.mean([float(log_p[at + i - 1, token]) for i, token in enumerate(reply)])
        assert float(learner([Exchange(turn, reply)])["reply"]) == pytest.approx(wanted, rel=1e-4)
        assert float(learner([Exchange(turn)])["reply"]) == 0.0
