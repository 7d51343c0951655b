"""Conformance of backbones. Tensors are accessed by shape, slices and `numpy()` only, so that any library works."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from fobench.api.components import Backbone
from fobench.api.types import Message
from fobench.conformance.checks import Probe, need
from fobench.conformance.speech import need_count

MESSAGES: Sequence[Message] = ({"role": "user", "content": "Which city is the capital of France?"},)
MIN_COSINE = 0.99  # least cosine of equal hidden states or logits: kernels differ with the number of positions
REPLY_TOKENS = 12
SAMPLE_TEXT = "The café opens at 7:30, doesn't it?"

# ---- Backbones -------------------------------------------------------------------------------------------------------


def backbone_probes(backbone: Backbone) -> Sequence[tuple[str, Probe]]:
    subject = _BackboneProbes(backbone)
    return (
        ("parameter hash", subject.hash_is_text),
        ("sizes", subject.sizes),
        ("chat template", subject.chat),
        ("encode-decode of text", subject.text),
        ("shapes", subject.shapes),
        ("same input, same output", subject.repeatable),
        ("step by step equals one step", subject.stepwise),
        ("crop removes positions", subject.crop),
        ("a fork is independent", subject.fork),
        ("stream", subject.stream),
        ("frozen", subject.frozen),
        ("parameters unchanged", subject.unchanged),
    )


class _BackboneProbes:
    """The probes of a backbone. The first one hashes the parameters; the last one compares the hash."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    @cached_property
    def hash(self) -> str:
        return self.backbone.parameter_hash()

    @cached_property
    def ids(self) -> list[int]:
        return self.backbone.chat(MESSAGES)

    @cached_property
    def x(self) -> Any:
        """Input embeddings of the conversation [1, T, D]."""
        return self.backbone.embed(_ids(self.ids))

    @cached_property
    def reference(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Hidden states [T, D] and logits [T, V] of the conversation in one step."""
        hidden, logits, _ = self.backbone.step(self.x)
        return _array(hidden)[0], _array(logits)[0]

    def sizes(self) -> str:
        need(
            isinstance(self.backbone.name, str) and self.backbone.name, f"name must be text, not {self.backbone.name!r}"
        )
        need_count(self.backbone.hidden_size, "hidden_size")
        need_count(self.backbone.vocab_size, "vocab_size")
        return f"{self.backbone.name}: hidden {self.backbone.hidden_size}, vocabulary {self.backbone.vocab_size}"

    def chat(self) -> str:
        need(isinstance(self.ids, list) and self.ids, f"chat() must return a list of token ids, not {self.ids!r}")
        wrong = [i for i in self.ids if not isinstance(i, int) or not 0 <= i < self.backbone.vocab_size]
        need(not wrong, f"ids {wrong[:5]} are not in 0 to {self.backbone.vocab_size - 1}")
        longer = self.backbone.chat([{"role": "system", "content": "Be brief."}, *MESSAGES])
        need(longer != self.ids, "a system message changes nothing")
        return f"{len(self.ids)} tokens"

    def text(self) -> str:
        """Plain text to ids by `encode`, and ids to text by `detokenizer`."""
        ids = self.backbone.encode(SAMPLE_TEXT)
        need(isinstance(ids, list) and ids, f"encode() must return a list of token ids, not {ids!r}")
        detokenizer = self.backbone.detokenizer()
        text = "".join([*map(detokenizer.push, ids), detokenizer.flush()])
        need(text == SAMPLE_TEXT, f"encode() and detokenizer() make {text!r} of {SAMPLE_TEXT!r}")
        need(not self.backbone.end_ids & set(ids), "encode() adds a token that ends a reply")
        need(self.backbone.end_ids, "end_ids is empty: no reply would ever end")
        need_count(self.backbone.context, "context")
        return f"{len(ids)} tokens, {len(self.backbone.end_ids)} end-of-reply tokens, context {self.backbone.context}"

    def shapes(self) -> str:
        length, width, words = len(self.ids), self.backbone.hidden_size, self.backbone.vocab_size
        need_shape(self.x, (1, length, width), "embed(ids [1, T])")
        hidden, logits, _ = self.backbone.step(self.x)
        need_shape(hidden, (1, length, width), "hidden states")
        need_shape(logits, (1, length, words), "logits")
        ending, last, _ = self.backbone.step(self.x, logits=1)
        need_shape(last, (1, 1, words), "step(x, logits=1): logits")
        need_shape(ending[:, -1:], (1, 1, width), "step(x, logits=1): the last hidden state")
        for what, tensor in (("embed()", self.x), ("hidden states", hidden), ("logits", logits)):
            need("float" in str(tensor.dtype), f"{what} must be floating, not {tensor.dtype}")
        need(np.isfinite(_array(hidden)).all() and np.isfinite(_array(logits)).all(), "values that are not finite")
        self._need_close(length - 1, ending[:, -1:], last, "by step(x, logits=1)")
        return f"[1, {length}, {width}] -> [1, {length}, {width}], [1, {length}, {words}]"

    def repeatable(self) -> str:
        hidden, logits, _ = self.backbone.step(self.x)
        same = np.array_equal(_array(hidden)[0], self.reference[0]) and np.array_equal(
            _array(logits)[0], self.reference[1]
        )
        need(same, "the same input gave other numbers the second time")
        return "bit-identical"

    def stepwise(self) -> str:
        state, worst = None, 1.0
        for at in range(len(self.ids)):
            hidden, logits, state = self.backbone.step(self.x[:, at : at + 1], state)
            worst = min(worst, self._need_close(at, hidden, logits, "one position at a time"))
        return f"cosine {worst:.5f} at worst"

    def crop(self) -> str:
        """Two thirds, cropped to one third, then the rest: equal to a single step over all positions."""
        cut = len(self.ids) // 3
        _, _, state = self.backbone.step(self.x[:, : 2 * cut])
        state = self.backbone.crop(state, cut)
        hidden, logits, _ = self.backbone.step(self.x[:, cut:], state)
        return f"cosine {self._need_close(cut, hidden, logits, 'after a crop'):.5f} at worst"

    def fork(self) -> str:
        """Continuing the original state does not change what follows on its fork."""
        cut = len(self.ids) // 2
        _, _, state = self.backbone.step(self.x[:, :cut])
        forked = self.backbone.fork(state)
        self.backbone.step(self.x[:, :cut], state)
        hidden, logits, _ = self.backbone.step(self.x[:, cut:], forked)
        return f"cosine {self._need_close(cut, hidden, logits, 'on a fork'):.5f} at worst"

    def stream(self) -> str:
        def reply(seed: int, temperature: float) -> list[str]:
            pieces = self.backbone.stream(MESSAGES, max_tokens=REPLY_TOKENS, seed=seed, temperature=temperature)
            return list(islice(pieces, 10 * REPLY_TOKENS))

        greedy = reply(0, 0.0)
        need(all(isinstance(piece, str) for piece in greedy), "stream() must yield text")
        need(len(greedy) <= REPLY_TOKENS + 1, f"max_tokens={REPLY_TOKENS} gave {len(greedy)} pieces")
        need("".join(greedy).strip(), f"no reply to {MESSAGES[0]['content']!r}")
        need(reply(1, 0.0) == greedy, "greedy decoding depends on the seed, or differs from time to time")
        need(reply(5, 1.0) == reply(5, 1.0), "the same seed gave two replies at temperature 1")
        return f"{''.join(greedy)!r}"

    def frozen(self) -> str:
        """No module of the backbone has parameters with requires_grad, or is in training mode."""
        parts = [part for part in vars(self.backbone).values() if callable(getattr(part, "parameters", None))]
        for part in parts:
            learning = sum(1 for p in part.parameters() if getattr(p, "requires_grad", False))
            need(not learning, f"{learning} parameters of {type(part).__name__} have requires_grad")
            need(not getattr(part, "training", False), f"{type(part).__name__} is in training mode: call eval()")
        return "no parameter requires gradients" if parts else "parameters are not exposed"

    def hash_is_text(self) -> str:
        need(isinstance(self.hash, str) and self.hash, f"parameter_hash() must be text, not {self.hash!r}")
        return self.hash[:12]

    def unchanged(self) -> str:
        after = self.backbone.parameter_hash()
        need(after == self.hash, f"parameter_hash() was {self.hash[:12]}, and is {after[:12]} after use")
        return self.hash[:12]

    def _need_close(self, first: int, hidden: Any, logits: Any, when: str) -> float:
        """The lowest cosine to the hidden states and logits of one step, from position `first` on.

        Raises `ContractViolation` below `MIN_COSINE`.
        """
        worst = 1.0
        for part, reference in zip((hidden, logits), self.reference, strict=True):
            for at, row in enumerate(_array(part)[0], start=first):
                worst = min(worst, cosine := _cosine(row, reference[at]))
                need(
                    cosine >= MIN_COSINE,
                    f"position {at} {when} has cosine {cosine:.4f} to the same position in one step",
                )
        return worst


def need_shape(tensor: Any, expected: tuple[int, ...], what: str) -> None:
    shape = tuple(int(size) for size in tensor.shape)
    need(shape == expected, f"{what} must be {list(expected)}, not {list(shape)}")


def _ids(ids: Sequence[int]) -> Any:
    """[1, T] ids in the library that the backbone has loaded: torch, else numpy."""
    torch = sys.modules.get("torch")
    return torch.tensor([list(ids)]) if torch else np.array([ids])


def _array(tensor: Any) -> npt.NDArray[np.float64]:
    for step in ("detach", "float", "cpu", "numpy"):
        tensor = getattr(tensor, step)() if hasattr(tensor, step) else tensor
    return np.asarray(tensor, dtype=np.float64)


def _cosine(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float(a @ b / max(1e-30, float(np.linalg.norm(a) * np.linalg.norm(b))))
