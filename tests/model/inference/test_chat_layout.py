"""The layout of turns comes from the backbone's own chat template."""

import json

import pytest

from fobench.errors import FobenchError
from reference_model.inference.chat_layout import TurnLayout
from tests.support.golden_data import FOLDER
from tests.support.tiny_models import SHAPES, backbone

SYSTEM = "Be brief."


@pytest.fixture(scope="module", params=SHAPES)
def llm(request):
    return backbone(request.param)


@pytest.mark.parametrize("system", ["", SYSTEM])
def test_turns_put_together_by_layout_are_the_template_itself(llm, system):
    layout = TurnLayout.of(llm.chat, system)
    who, me, again = (llm.encode(text) for text in ("Who is there?", "It is me!", "Why?"))
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "user", "content": "Who is there?"}]
    assert llm.chat(messages) == [*layout.opening, *who, *layout.reply_open]
    messages += [{"role": "assistant", "content": "It is me!"}, {"role": "user", "content": "Why?"}]
    whole = [*layout.opening, *who, *layout.reply_open, *me, *layout.user_open, *again, *layout.reply_open]
    assert llm.chat(messages) == whole


def test_the_reply_opening_closes_the_user_turn_and_the_users_closes_the_reply():
    llm = backbone("qwen2")
    layout = TurnLayout.of(llm.chat)
    assert llm.tokenizer.decode(layout.reply_open) == "<|im_end|>\n<|im_start|>assistant\n"
    assert llm.tokenizer.decode(layout.user_open) == "<|im_end|>\n<|im_start|>user\n"


def test_the_layout_of_qwen2_is_the_published_one():
    """Their pieces of text, whose ids they are: system prompt, user opening, reply opening."""
    texts = {t["name"]: t["text"] for t in json.loads((FOLDER / "qwen2_template_ids.json").read_text())["templates"]}
    llm = backbone("qwen2")
    layout, decoded = TurnLayout.of(llm.chat, "You are a helpful assistant."), llm.tokenizer.decode
    assert decoded(layout.opening) == texts["template_role"] + texts["prefix"]
    assert decoded(layout.reply_open) == texts["suffix"]
    assert decoded(layout.user_open) == "<|im_end|>" + texts["prefix"]


def test_a_template_that_mixes_turns_with_their_contents_is_refused():
    with pytest.raises(FobenchError, match="does not separate layout from contents"):
        TurnLayout.of(lambda messages: [sum(map(ord, m["content"])) for m in messages[:1]])
