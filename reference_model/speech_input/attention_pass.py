"""Whisper tiny.en's own frozen decoder in the second pass: hypotheses of a turn, with their log-probabilities by attention.

The CTC transcript is the draft of speculative decoding (arXiv 2211.17192): one parallel step computes the probabilities of all of its
tokens, and the search goes on token by token only where the decoder disagrees. The audio is padded with little silence, for speed;
then the decoder does not know where the text ends and may repeat it. So every prefix of the text that it decodes is a hypothesis,
and joint scoring with CTC (Watanabe et al. 2017), which leaves no probability for words that were not spoken, selects one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from fobench.assets import ctranslate2, store
from reference_model.speech_input.streaming_encoder import Cache
from reference_model.speech_input.whisper_decoder import WhisperDecoder
from reference_model.speech_input.whisper_encoder import WhisperConfig
from reference_model.speech_input.whisper_weights import ASSET, FILE

END, OPENING = 50_256, (50_257, 50_362)  # tokens of the English models: end; start, no timestamps
SILENCE_S = 1.0  # of silence after a turn, so that the decoder hears that it is over
LONGEST_S = 28.0  # of a turn: Whisper was trained on 30 s
TOKENS_PER_S, TOKENS = 8.0, 16  # most tokens of a transcript: so many a second, and so many more
AHEAD = 24  # tokens of the draft that are verified in one step
NEAR = 4  # tokens of the draft that the decoder may leave out in one place
NEVER = -20.0  # log-probability of an end that was not computed


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A transcript and its log-probability by the decoder, that of its end included."""

    text: str
    log_p: float


class AttentionPass:
    """The decoder with its tokens; load it once. It is not trained, and not among a checkpoint's weights."""

    def __init__(self, decoder: WhisperDecoder, folder: Path) -> None:
        """`folder`: of the tokenizer and of the decoder's list of tokens that a transcript never holds."""
        from tokenizers import Tokenizer

        self._decoder = decoder.requires_grad_(False).eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._never = torch.zeros(decoder.token_embedding.num_embeddings)
        self._never[config["suppress_ids"]] = -torch.inf
        self._never[END + 1 :] = -torch.inf
        self._never_first = self._never.clone()
        self._never_first[config["suppress_ids_begin"]] = -torch.inf

    @classmethod
    def load(cls) -> AttentionPass:
        """Whisper tiny.en's, from the pinned file that the speech recognizer uses, too."""
        folder = store.get(ASSET)
        state = ctranslate2.whisper_state(ctranslate2.read(folder / FILE))
        sizes = ctranslate2.dimensions(state)
        config = WhisperConfig(sizes["n_text_state"], sizes["n_text_layer"], sizes["n_text_head"])
        decoder = WhisperDecoder(config, sizes["n_vocab"], sizes["n_text_ctx"])
        own = {name: torch.tensor(array).float() for name, array in state.items() if name.startswith("decoder.")}
        decoder.load_state_dict({name.removeprefix("decoder."): tensor for name, tensor in own.items()})
        return cls(decoder, folder)

    @torch.inference_mode()
    def hypotheses(self, frames: Tensor, draft: str) -> list[Hypothesis]:
        """Transcripts of the encoder's frames [1, T, 384]: the draft, and prefixes of what the decoder makes of it."""
        self._decoder.to(frames.device)
        seconds = frames.shape[1] / 50
        room = self._decoder.positions - len(OPENING) - AHEAD
        search = _Search(self._decoder.listen(frames), min(room, TOKENS + int(TOKENS_PER_S * seconds)))
        rest = self._encode(draft)[:room]
        drafted = self._verify(search, rest)
        while not search.over:
            rest = self._after(search.tokens[-1], rest[search.agreed :])[:AHEAD]
            self._verify(search, rest)
        return [Hypothesis(draft, drafted), *self._prefixes(search)]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(f" {text}", add_special_tokens=False).ids
        return ids

    def _verify(self, search: _Search, rest: Sequence[int]) -> float:
        """One step over the last token and the `rest` of the draft: accepts the tokens that are the decoder's own choice, and its
        choice after them. Returns the log-probability of the rest and the end after it.
        """
        last = search.tokens[-1:] or OPENING
        logits, caches = self._decoder(
            torch.tensor([[*last, *rest]], device=self._decoder.positional_embedding.device), search.audio, search.pasts
        )
        scores = logits[0, len(last) - 1 :].float().cpu() + self._never
        if not search.tokens:
            scores[0] += self._never_first
        log_p = scores.log_softmax(-1)  # [1 + rest, V]
        search.accept(log_p, rest)
        search.keep(caches, search.length + len(last) + search.agreed)
        drafted = log_p[range(len(rest)), rest].sum() + log_p[len(rest), END]
        return float(drafted)

    @staticmethod
    def _after(token: int, rest: Sequence[int]) -> list[int]:
        """The draft after a token that was put in place of its next one: the draft may have words that were not spoken."""
        skipped = rest[:NEAR].index(token) + 1 if token in rest[:NEAR] else 1
        return list(rest[skipped:])

    def _prefixes(self, search: _Search) -> list[Hypothesis]:
        """The decoded text up to each of its words."""
        pieces = [self._tokenizer.decode([token]) for token in search.tokens]
        ends = [i for i, piece in enumerate(pieces) if i and piece.startswith(" ")] + [len(pieces)]
        log_p = [0.0, *torch.tensor(search.log_p, dtype=torch.float64).cumsum(0).tolist()]
        return [Hypothesis(self._tokenizer.decode(search.tokens[:n]).strip(), log_p[n] + search.ends[n]) for n in ends]


@dataclass(slots=True)
class _Search:
    """Greedy decoding of one recording."""

    audio: list[Cache]
    most: int  # tokens
    tokens: list[int] = field(default_factory=list)
    log_p: list[float] = field(default_factory=list)  # of each token
    ends: list[float] = field(default_factory=list)  # log-probability of the end before each token, and after the last
    pasts: list[Cache] | None = None
    agreed: int = 0  # tokens of the draft that the last step accepted
    over: bool = False

    @property
    def length(self) -> int:
        """Positions in the cache."""
        return self.pasts[0][0].shape[2] if self.pasts else 0

    def keep(self, caches: Sequence[Cache], length: int) -> None:
        self.pasts = [(keys[:, :, :length], values[:, :, :length]) for keys, values in caches]

    def accept(self, log_p: Tensor, rest: Sequence[int]) -> None:
        """Appends the choices of log-probabilities [1 + rest, V], up to the first that is not the draft's."""
        choices = log_p.argmax(-1).tolist()
        self.agreed = 0
        for i, (choice, drafted) in enumerate(zip(choices, [*rest, None], strict=True)):
            self.ends.append(float(log_p[i, END]))
            if choice == END:
                self.over = True
                return
            self.tokens.append(choice)
            self.log_p.append(float(log_p[i, choice]))
            if len(self.tokens) >= self.most or repeats(self.tokens):
                self.ends.append(NEVER)
                self.over = True
                return
            if choice != drafted:
                return
            self.agreed += 1


def repeats(tokens: Sequence[int]) -> bool:
    """Whether the text has begun to run in circles: its last tokens are those before, of up to 3 three times, of more twice."""
    for size in range(1, 13):
        times = 3 if size < 4 else 2
        tail = list(tokens[-size * times :])
        if len(tail) == size * times and tail == tail[-size:] * times:
            return True
    return False
