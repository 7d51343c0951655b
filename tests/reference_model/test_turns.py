"""The layout of turns comes from the backbone's own chat template."""

import pytest
from tiny_models import SHAPES, backbone

from fobench.errors import FobenchError
from reference_model.turns import TurnLayout

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


def test_a_template_that_mixes_turns_with_their_contents_is_refused():
    with pytest.raises(FobenchError, match="does not keep turns apart"):
        TurnLayout.of(lambda messages: [sum(map(ord, m["content"])) for m in messages[:1]])
