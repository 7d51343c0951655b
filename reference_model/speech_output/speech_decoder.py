"""The speech decoder: a segment's text and the LLM's hidden states -> codec tokens (paper, speech output).

A pre-network encodes the text embeddings, a prefix network the hidden states; the main layers take both at once (NAR prefill),
then generate codes one by one (AR) with the same weights. Several codebooks have the delay pattern of arXiv 2306.05284.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from fobench.errors import FobenchError
from reference_model.packed_linear import PackedLinear
from reference_model.speech_output.duration_predictor import DurationPredictor
from reference_model.speech_output.llama_layers import KVCache, LlamaConfig, LlamaStack, Pairs, Rotary, rotary_embedding
from reference_model.speech_output.sampling import Sampling

BOS, SOS, EOS, PAD = range(4)  # ids after the codes: start of text, start of speech, end of speech, padding
SPECIALS = 4
ROOM = 128  # initial free positions of a segment's cache
IGNORED = -100  # target without loss
LETTER_STD = 0.13  # initial std of letter embeddings, that of an LLM's embeddings


@dataclass(frozen=True, slots=True)
class SpeechDecoderConfig:
    """Sizes; the defaults are the published ones."""

    size: int = 896  # d
    heads: int = 14
    ffn: int = 4864
    layers: int = 4  # of the main and of the prefix network, each
    pre_layers: int = 2
    codebooks: int = 1  # K
    codes: int = 1024  # V, of each codebook
    max_frames: int = 1000  # maximum of a segment
    theta: float = 10_000.0
    eps: float = 1e-6
    rotary_bf16: bool = False  # rotary frequencies rounded to bfloat16, as the published server has them on a GPU
    allow_special: bool = False  # whether ids that are no codes may be sampled, as published
    thoughts: bool = True  # whether the prefix network takes the LLM's hidden states
    llm_rows: bool = True  # whether the LLM's token embeddings are rows of the text, beside letters or phonemes
    blank_rows: float = (
        0.0  # without them: rows of zeros before the letters, per letter, for weights that were trained with them
    )
    characters: int = 0  # size of the letter embedding, by Unicode number; 0: no letters beside the LLM's embeddings
    phonetic: bool = False  # whether phonemes take the place of letters, see `phonemizer`
    paced: bool = False  # whether every letter has a duration, see `duration_predictor`

    def __post_init__(self) -> None:
        if not self.llm_rows and not self.characters:
            raise FobenchError("A speech decoder without the LLM's embeddings needs letters: set `characters`.")

    @property
    def any_llm(self) -> bool:
        """Whether it takes nothing of the LLM but the text, so that it fits every LLM."""
        return not (self.llm_rows or self.thoughts)

    def stack(self, layers: int) -> LlamaConfig:
        return LlamaConfig(self.size, self.heads, self.ffn, layers, self.theta, self.eps, self.rotary_bf16)


@dataclass(slots=True)
class DecoderState:
    """The state of a segment in synthesis. `step` advances it in place; `fork` copies it."""

    cache: KVCache
    position: int  # of the next token: the prefix does not count
    last: list[int]  # the latest token of each codebook
    rows: list[list[int]] = field(default_factory=list)  # sampled tokens, [K] per step, codebook k delayed by k steps
    given: int = 0  # frames returned so far
    end: int | None = None  # the number of frames, once the first codebook has ended
    pace: torch.Tensor | None = None  # [end, d]: conditioning of each frame, with a duration predictor

    def fork(self) -> DecoderState:
        rows = [list(row) for row in self.rows]
        return DecoderState(self.cache.fork(), self.position, list(self.last), rows, self.given, self.end, self.pace)

    @property
    def over(self) -> bool:
        return self.end is not None and self.given >= self.end

    def due(self) -> bool:
        """Whether more steps are needed before the next frame is complete."""
        return not self.over and len(self.rows) < self.given + len(self.last)

    def take(self) -> list[int] | None:
        """The next frame's codes [K], which must be complete; None after the last."""
        if self.over:
            return None
        frame = [self.rows[self.given + k][k] for k in range(len(self.last))]
        self.given += 1
        return frame


class SpeechDecoder(nn.Module):
    """Text rows [B, H, d] and hidden-state rows [B, P, d] -> codes [K] per step."""

    def __init__(self, config: SpeechDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = config.codes + SPECIALS
        self.embedding = nn.Embedding(config.codebooks * self.vocabulary, config.size)
        self.pre = LlamaStack(config.stack(config.pre_layers))
        if config.thoughts:
            self.prefix = LlamaStack(config.stack(config.layers))
        self.layers = LlamaStack(config.stack(config.layers))
        self.pace = DurationPredictor(config.size) if config.paced else None
        self.norm = nn.RMSNorm(config.size, config.eps)
        self.out = nn.Linear(config.size, config.codebooks * self.vocabulary)
        self._out = PackedLinear(self.out)
        if config.characters:
            self.letters = nn.Embedding(config.characters, config.size)
            nn.init.normal_(self.letters.weight, std=LETTER_STD)

    def special(self, which: int) -> int:
        """The id of BOS, SOS, EOS or PAD."""
        return self.config.codes + which

    def letter_rows(self, text: str) -> torch.Tensor:
        """A text, or its phonemes -> [1, n, d]: a row for each letter. The input of a decoder without the LLM's embeddings."""
        letters = torch.tensor([letters_of(text, self.config.characters)], dtype=torch.long)
        rows: torch.Tensor = self.letters(letters.to(self.letters.weight.device))
        return F.pad(rows, (0, 0, round(self.config.blank_rows * len(text)), 0))

    def text_rows(self, embeddings: torch.Tensor, pieces: Sequence[str] | None = None) -> torch.Tensor:
        """LLM vectors [n, D] -> [1, n * D / d, d]: each is split into D / d rows. FobenchError if d does not divide D.

        With the tokens' texts `pieces`, in a decoder with letters, each token's letters follow its rows, one row each.
        """
        width, size = embeddings.shape[-1], self.config.size
        if width % size:
            raise FobenchError(f"The speech decoder's size {size} must divide the LLM's hidden size {width}.")
        rows = embeddings.reshape(-1, size).to(self.embedding.weight.dtype)
        if pieces is None or not self.config.characters:
            return rows[None]
        letters = [letters_of(piece, self.config.characters) for piece in pieces]
        embedded = self.letters(
            torch.tensor([i for word in letters for i in word], dtype=torch.long, device=rows.device)
        )
        order = interleaved(width // size, [len(word) for word in letters])
        return torch.cat([rows, embedded])[order][None]

    # ---- synthesis -------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def prefill(self, text: torch.Tensor, prefix: torch.Tensor | None = None) -> DecoderState:
        """Text rows [1, H, d] and, with a prefix network, hidden-state rows [1, P, d] -> the state before the first code."""
        past = None if prefix is None else self.prefix(prefix, self._rotary(prefix.shape[1]), output=False)[1]
        start_rows = self._start_rows(text)
        _, pairs = self.layers(start_rows, self._rotary(text.shape[1] + 1), past, output=False)
        start = [self.special(SOS)] * self.config.codebooks
        state = DecoderState(KVCache.of(pairs, ROOM), text.shape[1] + 1, start)
        if self.pace is not None:
            durations = self.pace.durations(start_rows[:, 1:])
            state.end = min(max(1, round(float(durations.sum()))), self.config.max_frames)
            state.pace = self.pace.read(start_rows[:, 1:], durations, state.end)[0]
        return state

    @torch.inference_mode()
    def durations(self, text: torch.Tensor) -> torch.Tensor:
        """The predicted durations [1, H], in frames, of text rows [1, H, d]; only with a duration predictor."""
        assert self.pace is not None
        return self.pace.durations(self._start_rows(text)[:, 1:])

    def step(self, state: DecoderState, sampling: Sampling, generator: torch.Generator) -> torch.Tensor | None:
        """The next frame's codes [K], int64, or None at the segment's end."""
        return self.step_many([(state, sampling, generator)])[0]

    def step_many(self, calls: Sequence[tuple[DecoderState, Sampling, torch.Generator]]) -> list[torch.Tensor | None]:
        """`step` of several segments as one batch."""
        while due := [call for call in calls if call[0].due()]:
            states = [state for state, _, _ in due]
            logits = self._allowed(self.logits(states).float(), [state.end is None for state in states])
            for (state, sampling, generator), row in zip(due, logits, strict=True):
                self._draw(state, row, sampling, generator)
        frames = [state.take() for state, _, _ in calls]
        return [None if frame is None else torch.tensor(frame) for frame in frames]

    @torch.inference_mode()
    def logits(self, states: Sequence[DecoderState]) -> torch.Tensor:
        """Feed the last tokens of S segments; returns the logits [S, K, V + 4] of the next ones."""
        device = self.embedding.weight.device
        x = self._embed(torch.tensor([state.last for state in states], device=device)[..., None])  # [S, 1, d]
        if self.pace is not None:
            x = x + torch.stack([_at(state.pace, len(state.rows)) for state in states])[:, None]
        positions = torch.tensor([[state.position] for state in states], device=device)
        x = self.layers.step_many(x, rotary_embedding(self.layers.config, positions), [state.cache for state in states])
        for state in states:
            state.position += 1
        return self._out(self.norm(x))[0][:, 0].unflatten(-1, (self.config.codebooks, -1))

    def _draw(self, state: DecoderState, logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> None:
        """Sample each codebook's token from the allowed logits [K, V + 4]."""
        step, books = len(state.rows), self.config.codebooks
        tokens = [self.special(PAD)] * books  # of codebooks that have not begun, or have ended
        spoken = [k for k in range(books) if k <= step and (state.end is None or step - k < state.end)]
        rows = logits if len(spoken) == books else logits[spoken]
        if sampling.penalizes:
            histories = [[self.special(SOS), *(row[k] for row in state.rows[k:])] for k in spoken]
            rows = torch.stack([sampling.penalized(*pair) for pair in zip(rows, histories, strict=True)])
        for k, token in zip(spoken, sampling.sample_rows(rows, generator), strict=True):
            tokens[k] = token
        if state.end is None and (tokens[0] == self.special(EOS) or step >= self.config.max_frames):
            state.end, tokens[0] = step, self.special(PAD)
        state.rows.append(tokens)
        state.last = tokens

    @torch.inference_mode()
    def _allowed(self, logits: torch.Tensor, ends: Sequence[bool]) -> torch.Tensor:
        """Logits [S, K, V + 4], -inf for ids that must not be sampled.

        `ends` [S]: whether a segment's EOS may be, which only the first codebook has.
        """
        if self.config.allow_special:
            return logits
        allowed = logits.clone()
        allowed[..., self.config.codes :] = -torch.inf
        for row, end in enumerate(ends):
            if end:
                allowed[row, 0, self.special(EOS)] = logits[row, 0, self.special(EOS)]
        return allowed

    # ---- training --------------------------------------------------------------------------------------------------------

    def forward(
        self,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        codes: torch.Tensor,
        code_lengths: torch.Tensor,
        prefix: torch.Tensor | None = None,
        prefix_lengths: torch.Tensor | None = None,
        *,
        durations: torch.Tensor | None = None,
        compact: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Teacher forcing. Text rows [B, H, d], codes [B, K, T], prefix rows [B, P, d], each padded, with lengths [B].

        Returns logits [B, K, T + K, V + 4] and the sum of the cross-entropies of all codes and ends; with a duration predictor,
        which needs each text row's `durations` [B, H] in frames, the sum includes the duration loss. `compact`: positions count
        a segment's own rows, as in synthesis; else (as published) those of the padded layout.
        """
        inputs, targets = self.delayed(codes, code_lengths)  # [B, K, T + K] each
        past, seen = self._prefixed(text, prefix, prefix_lengths)
        text_seen = _within(text_lengths + 1, text.shape[1] + 1)  # [B, H + 1]
        start_rows, tokens = self._start_rows(text, text_seen[:, 1:]), self._embed(inputs)
        duration_loss = tokens.new_zeros(())
        if self.pace is not None:
            if durations is None:
                raise ValueError("A decoder with a duration predictor needs durations for training.")
            tokens = tokens + self.pace.read(start_rows[:, 1:], durations, inputs.shape[-1])
            duration_loss = self.pace.loss(start_rows[:, 1:], durations, text_seen[:, 1:])
        x = torch.cat([start_rows, tokens], 1)
        rotary = rotary_embedding(
            self.layers.config, self._positions(text_lengths, text.shape[1], inputs.shape[-1], compact)
        )
        mask = _visible(seen, text_seen, inputs.shape[-1])
        hidden, _ = self.layers(x, rotary, past, mask)
        logits = self.out(self.norm(hidden[:, text.shape[1] + 1 :]))  # [B, T + K, K * (V + 4)]
        logits = logits.unflatten(-1, (self.config.codebooks, -1)).transpose(1, 2)
        total = F.cross_entropy(logits.flatten(0, 2).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        return logits, total + duration_loss

    def delayed(self, codes: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes [B, K, T] of `lengths` [B] -> inputs and targets [B, K, T + K], codebook k delayed by k steps.

        The first codebook's target after its codes is EOS; the others have none there, as in `step`.
        """
        batch, books, frames = codes.shape
        inputs = codes.new_full((batch, books, frames + books), self.special(PAD))
        targets = torch.full_like(inputs, IGNORED)
        valid = _within(lengths, frames)  # [B, T]
        for k in range(books):
            inputs[:, k, k : k + frames] = codes[:, k].masked_fill(~valid, self.special(PAD))
            targets[:, k, k : k + frames] = codes[:, k].masked_fill(~valid, IGNORED)
        targets[torch.arange(batch, device=codes.device), 0, lengths] = self.special(EOS)
        start = codes.new_full((batch, books, 1), self.special(SOS))
        return torch.cat([start, inputs[..., :-1]], -1), targets

    # ---- parts -----------------------------------------------------------------------------------------------------------

    def _embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B, K, T] -> the sum of the codebooks' embeddings [B, T, d]."""
        offsets = torch.arange(self.config.codebooks, device=tokens.device) * self.vocabulary
        return self.embedding(tokens + offsets[:, None]).sum(1)

    def _start_rows(self, text: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Text rows [B, H, d], `seen` [B, H] bool -> inputs of the main layers [B, H + 1, d]: BOS, and the pre-network's outputs."""
        mask = None if seen is None else seen[:, None, None]
        encoded, _ = self.pre(text, self._rotary(text.shape[1]), mask=mask)
        start = self.embedding(torch.tensor([[self.special(BOS)]], device=text.device))
        return torch.cat([start.expand(len(text), -1, -1), encoded], 1)

    def _prefixed(
        self, text: torch.Tensor, prefix: torch.Tensor | None, lengths: torch.Tensor | None
    ) -> tuple[Pairs | None, torch.Tensor]:
        """The prefix's keys and values, and which of them are valid [B, P] bool."""
        if prefix is None:
            return None, torch.zeros(len(text), 0, dtype=torch.bool, device=text.device)
        full = torch.full((len(prefix),), prefix.shape[1], device=prefix.device)
        seen = _within(full if lengths is None else lengths, prefix.shape[1])
        _, pairs = self.prefix(prefix, self._rotary(prefix.shape[1]), mask=seen[:, None, None])
        return pairs, seen

    def _rotary(self, length: int) -> Rotary:
        return rotary_embedding(self.layers.config, torch.arange(length, device=self.embedding.weight.device))

    def _positions(self, lengths: torch.Tensor, text: int, steps: int, compact: bool) -> torch.Tensor:
        """[B, H + 1 + T + K]: positions of the start rows and of the tokens."""
        device = lengths.device
        first = lengths + 1 if compact else torch.full_like(lengths, text + 1)  # position of the first token
        start_rows = torch.arange(text + 1, device=device).expand(len(lengths), -1)
        return torch.cat([start_rows, first[:, None] + torch.arange(steps, device=device)], 1)


def _at(pace: torch.Tensor | None, step: int) -> torch.Tensor:
    """Row `step` of a state's `pace`, or the last row."""
    assert pace is not None
    return pace[min(step, len(pace) - 1)]


def letters_of(piece: str, characters: int) -> list[int]:
    """The Unicode numbers of a token's letters, clipped to the embedding of `characters`; empty for a decoder without letters."""
    return [min(ord(letter), characters - 1) for letter in piece] if characters else []


def interleaved(rows: int, letters: Sequence[int]) -> list[int]:
    """The indices that order all rows, then all letters, token by token: its `rows` rows, then its letters."""
    order, next_letter = [], rows * len(letters)
    for token, count in enumerate(letters):
        order += [*range(rows * token, rows * (token + 1)), *range(next_letter, next_letter + count)]
        next_letter += count
    return order


def _within(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """[B, size] bool: the positions within `lengths` [B]."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def _visible(prefix: torch.Tensor, text: torch.Tensor, steps: int) -> torch.Tensor:
    """[B, 1, H + 1 + T, P + H + 1 + T] bool: all see prefix [B, P] and text [B, H + 1]; tokens are causal."""
    batch, rows = text.shape
    known = torch.cat([prefix, text], 1)[:, None].expand(-1, rows + steps, -1)  # [B, H + 1 + T, P + H + 1]
    causal = torch.ones(steps, steps, dtype=torch.bool, device=text.device).tril()
    tokens = F.pad(causal, (0, 0, rows, 0)).expand(batch, -1, -1)  # [B, H + 1 + T, T]
    return torch.cat([known, tokens], 2)[:, None]
