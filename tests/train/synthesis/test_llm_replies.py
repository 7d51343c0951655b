"""Batched replies of the LLM equal its reply to each question alone."""

import json

import pytest
from click.testing import CliRunner

from reference_model.config import Settings
from reference_model.train.synthesis import llm_replies, render_plan
from reference_model.train.synthesis.render_plan import RenderItem
from reference_model.train.synthesis.speakers import OUTPUT
from tests.support.steerable_llm import frozen

SETTINGS = Settings(max_tokens=12)
TEXTS = ("Who are you?", "What is it?", "Where is the sea?", "Tell me more.", "Is it so?")


@pytest.fixture(scope="module")
def backbone():
    return frozen().backbone


def alone(backbone, question):
    said = [{"role": "system", "content": SETTINGS.system_prompt}, {"role": "user", "content": question}]
    return "".join(backbone.stream(said, max_tokens=SETTINGS.max_tokens, seed=0))


def test_a_reply_among_others_is_the_reply_to_its_question_alone(backbone):
    found = list(llm_replies.generate_replies(backbone, [(str(i), text) for i, text in enumerate(TEXTS)], SETTINGS))
    assert sorted(line["id"] for line in found) == ["0", "1", "2", "3", "4"]
    assert {line["question"]: line["reply"] for line in found} == {text: alone(backbone, text) for text in TEXTS}


def test_replies_end_where_the_turn_does(backbone):
    ids = backbone.chat([{"role": "user", "content": "Who are you?"}])
    whole = llm_replies.generate(backbone, [ids], 12)[0]
    assert not set(whole) & backbone.end_ids and len(whole) <= 12


def test_only_texts_that_want_an_answer_are_asked_and_each_once(tmp_path):
    kinds = ("question", "statement", "command", "question")
    texts = ("Who?", "It rains.", "Go on.", "Who?")
    items = [
        RenderItem(f"i{n}", "train-00000", text, kind, "made", "train", OUTPUT, 16_000, 0)
        for n, (text, kind) in enumerate(zip(texts, kinds, strict=True))
    ]
    render_plan.write(tmp_path, items, render_plan.metadata("input", items, 0))
    assert [text for _, text in llm_replies.planned_questions(tmp_path, 10)] == ["Who?", "Go on."]
    assert len(llm_replies.planned_questions(tmp_path, 1)) == 1


def test_the_command_goes_on_where_it_was(backbone, tmp_path, monkeypatch):
    items = [
        RenderItem(f"i{n}", "train-00000", text, "question", "made", "train", OUTPUT, 16_000, 0)
        for n, text in enumerate(TEXTS)
    ]
    render_plan.write(tmp_path, items, render_plan.metadata("input", items, 0))
    out = tmp_path / "replies.jsonl"
    monkeypatch.setattr(llm_replies.registry, "create", lambda *_: backbone)
    told = ["--plan", str(tmp_path), "--out", str(out), "--count", "3"]
    assert CliRunner().invoke(llm_replies.main, told).exit_code == 0
    first = out.read_text()
    out.write_text(first + '{"id": "i3", "quest')  # a kill cut the last line off
    assert CliRunner().invoke(llm_replies.main, [*told[:-1], "5"]).exit_code == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert out.read_text().startswith(first) and sorted(line["id"] for line in lines) == ["i0", "i1", "i2", "i3", "i4"]
