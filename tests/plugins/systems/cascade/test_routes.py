"""The cascade's reply to a transcript is that to the same text, in every turn; its rule of decoding is recorded."""

import pytest

pytest.importorskip("torch")

from fobench.api import registry
from fobench.errors import FobenchError
from fobench_plugins.systems.cascade.components import Components
from tests.support.tiny_models import folder

OPTIONS = {"device": "cpu", "threads": "1"}


def components(**options):
    llm = registry.create("backbones", f"hf:{folder('smollm2')}", {**OPTIONS, **options})
    return Components(llm, None, None, "Be brief.", 24)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_by_ear_and_by_text_a_conversation_has_the_same_replies(dtype):
    ear, text, history = components(dtype=dtype), components(dtype=dtype), []
    for question in ("Who is there?", "And why so?", "é!"):
        history.append({"role": "user", "content": question})
        reply = "".join(ear.stream(list(history), 0))
        assert text.answer(list(history), 0) == ear.answer(list(history), 0) == reply
        history.append({"role": "assistant", "content": reply})


def fours(pieces):
    return [tuple(pieces[i : i + 4]) for i in range(len(pieces) - 3)]


def test_the_rule_is_followed_and_recorded():
    def looping(**options):
        made = components(**options)
        llm = made.backbone
        llm.packed.logits = lambda hidden: hidden.new_zeros(1, 1, llm.vocab_size).index_fill(
            -1, hidden.new_tensor([65]).long(), 9
        )
        return llm, list(llm.stream([{"role": "user", "content": "Go on."}], max_tokens=24, seed=0))

    llm, pieces = looping()
    assert llm.about()["generation"] == "no-repeat-4"
    assert len(fours(pieces)) == len({*fours(pieces)}) == 21
    llm, pieces = looping(generation="greedy")
    assert llm.about()["generation"] == "greedy"
    assert len({*pieces}) == 1


def test_an_unknown_rule_lists_the_choices():
    with pytest.raises(FobenchError, match="no-repeat-4, greedy"):
        components(generation="beam")
