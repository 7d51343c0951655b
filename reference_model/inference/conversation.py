"""The state of one conversation: all of its caches in one object, passed on and never copied as a whole."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from fobench.api.types import Event, EventKind
from reference_model.inference.engine import InferenceEngine
from reference_model.inference.llm_context import LLMContext, Role
from reference_model.inference.reply import GeneratedReply
from reference_model.inference.speculation import SpeculativeReply
from reference_model.model import FreezeOmni
from reference_model.speech_input.adapter import AdapterReader
from reference_model.speech_input.ctc_adapter import CTCReader
from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.turn_taking import head_inputs
from reference_model.turn_taking.head_inputs import HeadPart
from reference_model.turn_taking.policy import TurnTakingPolicy
from reference_model.turn_taking.state_machine import Phase

SECOND_PASS_CHUNKS = 375  # of a turn, 60 s: a longer one keeps what the first pass has recognized


@dataclass(slots=True)
class UserTurnState:
    """A user turn in progress: caches of encoder and adapter, chunks not yet encoded, rows fed to the LLM."""

    encoder: Any
    adapter: Any
    reader: AdapterReader
    waiting: deque[torch.Tensor]  # features [1, frames, mels] of each chunk that is not yet encoded
    rehearsal: int  # chunks from before the onset that are still waiting
    hidden: torch.Tensor | None = None  # [D]: the LLM's hidden state at the last row; None: no row yet
    next: torch.Tensor | None = None  # [V]: the LLM's logits of the token after that row; None: no row yet
    rows: torch.Tensor | None = None  # [1, n, D]: LLM inputs of the turn; None: none yet
    base: int = 0  # length of the LLM's context before the turn
    continued: int = 0  # rows of the user turn that it continues; 0: it is a new one
    outputs: list[tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=list
    )  # for a second pass: (chunk, adapter's)
    encoded: int = 0  # chunks
    memory: torch.Tensor | None = None  # the state head's, of the chunks since the onset
    reread: bool = False  # whether the second pass has recognized all of the turn
    over: bool = False  # whether the state head has predicted, since the last speech, that the turn needs an answer

    @classmethod
    def begin(cls, model: FreezeOmni, chunks: list[torch.Tensor], before: torch.Tensor | None) -> UserTurnState:
        """A turn that begins with `chunks` from before the onset; the frames `before` them are the encoder's context."""
        frames = model.encoder.context
        encoder = model.encoder.begin(1, None if before is None or not frames else before[:, -frames:])
        return cls(encoder, model.adapter.begin(1), model.adapter.reader(), deque(chunks), len(chunks))

    @property
    def nothing(self) -> bool:
        """Whether all of it has been encoded and nothing was recognized."""
        return not self.waiting and self.rows is None

    @property
    def length(self) -> int:
        """Rows of the user turn, those of the turn that it continues included."""
        return self.continued + (0 if self.rows is None else self.rows.shape[1])

    def listen(self, live: InferenceEngine) -> None:
        """Encode all chunks that wait."""
        self.rehearsal = max(0, self.rehearsal - len(self.waiting))
        while self.waiting:
            chunk = self.waiting.popleft()
            output, self.encoder, self.adapter = live.hear(chunk, self.encoder, self.adapter)
            self.reader.push(output)
            self.encoded += 1
            if self.encoded > SECOND_PASS_CHUNKS:
                self.outputs.clear()
            elif live.model.rereader is not None:
                self.outputs.append((chunk, output))

    def end_logprob(self, end_ids: Collection[int]) -> float:
        """The log-probability, by the LLM, that the turn is complete: that an end token comes next. -inf without rows."""
        return -math.inf if self.next is None else float(head_inputs.end_logprob(self.next, end_ids))

    def resume(self) -> None:
        """Take account of further speech: the turn is not over, and the second pass has not recognized all of it."""
        self.over = False
        if self.reread:
            assert isinstance(self.reader, CTCReader)
            self.reread, self.reader.second_pass = False, None

    def run_second_pass(self, context: LLMContext, live: InferenceEngine) -> None:
        """Recognize all chunks so far with full context, and correct the LLM's context by the result."""
        chunks, outputs = (torch.cat(side, 1) for side in zip(*self.outputs, strict=True))
        assert isinstance(self.reader, CTCReader)
        self.reader.second_pass, self.reread = live.model.reread(chunks, outputs, self.reader.beam), True
        self._update(context, live)

    def enter(self, context: LLMContext, live: InferenceEngine) -> torch.Tensor:
        """Feed to the LLM what has been recognized; returns the state head's input [N]."""
        self._update(context, live)
        return torch.cat([self._head_part(part, live).to(live.model.prompt) for part in live.model.config.state_inputs])

    def _head_part(self, part: HeadPart, live: InferenceEngine) -> torch.Tensor:
        """A part of the state head's input."""
        if part == "evidence":
            return self.reader.evidence()
        if part == "language":
            return head_inputs.language_numbers(self.next, live.end_ids)
        return live.model.prompt.new_zeros(live.model.config.llm_size) if self.hidden is None else self.hidden

    def _update(self, context: LLMContext, live: InferenceEngine) -> None:
        """Bring the context up to date with the reader."""
        if self.rows is None:
            self._begin_in(context)
        back, rows = self.reader.rows(live.backbone, following=self.continued > 0)
        self._feed(context, back, rows, live.model.prompt)

    def reenter(self, context: LLMContext, prompt: torch.Tensor) -> None:
        """Feed all rows so far to another context."""
        rows, self.rows = self.rows, None
        self._begin_in(context)
        if rows is not None:
            self._feed(context, 0, rows, prompt)

    def leave(self, context: LLMContext) -> None:
        """Remove the turn from the LLM's context."""
        if self.rows is None:
            return
        if self.continued:
            context.cut(self.continued)
        else:
            context.drop()

    def _begin_in(self, context: LLMContext) -> None:
        """Note where in the context the turn begins: behind a user turn without an audible answer it continues that turn."""
        last = context.turns[-1] if context.turns else None
        self.base, self.continued = context.length, last.length if last and last.role is Role.USER else 0

    def _feed(self, context: LLMContext, back: int, rows: torch.Tensor, prompt: torch.Tensor) -> None:
        """Remove the last `back` rows, and append `rows` [1, n, D]; the prompt [P, D] precedes the first rows of a new turn."""
        if back:
            assert self.rows is not None
            self.rows = self.rows[:, : self.rows.shape[1] - back]
            context.cut(context.turns[-1].length - back)
        if not rows.shape[1]:
            return
        if self.rows is None and not self.continued:
            before = [prompt[None].to(rows)] if len(prompt) else []  # without prompts it may have no size either
            hidden, logits = context.open(Role.USER, torch.cat([*before, rows], 1))
        else:
            hidden, logits = context.extend(rows)
        self.hidden, self.next = hidden[0, -1], logits[0, -1]
        self.rows = rows if self.rows is None else torch.cat([self.rows, rows], 1)


@dataclass(slots=True)
class Conversation:
    """One conversation, at one moment."""

    context: LLMContext  # the LLM's; while a reply is generated, with all of its tokens so far
    seed: int  # of all sampling
    policy: TurnTakingPolicy
    recent: deque[torch.Tensor] = field(
        default_factory=deque
    )  # pre-roll: the last chunks [1, frames, mels] outside turns
    before: torch.Tensor | None = None  # the chunk before the pre-roll
    phase: Phase = Phase.WAITING
    front: Any = None  # state of the streaming front end
    frames: torch.Tensor | None = None  # [1, n, mels]: features that do not yet fill a chunk
    turn: UserTurnState | None = None
    overlap: LLMContext | None = None  # a fork: the reply as far as heard, then the turn that is spoken over it
    speculation: SpeculativeReply | None = None  # the reply to the current turn, in case it is over
    reply: GeneratedReply | None = None
    replies: int = 0

    @classmethod
    def begin(cls, live: InferenceEngine, seed: int) -> Conversation:
        detector = live.detectors() if live.detectors else None
        return cls(live.opening(), seed, TurnTakingPolicy(live.settings.duplex, detector))

    def take(self, samples: torch.Tensor, encoder: SpeechEncoder, keep: int) -> None:
        """Cut samples [N] into chunks of features, for the current turn; outside turns, keep the last `keep` of them."""
        features, self.front = encoder.front.step(samples[None].to(encoder.device), self.front)
        frames = features if self.frames is None else torch.cat([self.frames, features], 1)
        count = frames.shape[1] // encoder.chunk
        self.frames = frames[:, count * encoder.chunk :]
        chunks = [frames[:, i * encoder.chunk : (i + 1) * encoder.chunk] for i in range(count)]
        (self.recent if self.turn is None else self.turn.waiting).extend(chunks)
        while len(self.recent) > keep:
            self.before = self.recent.popleft()

    # ---- turns and replies ---------------------------------------------------------------------------------------------

    def begin_turn(self, model: FreezeOmni) -> UserTurnState:
        """Begin a user turn, to which the pre-roll and all audio from now on belong."""
        self.turn = UserTurnState.begin(model, list(self.recent), self.before)
        self.recent.clear()
        return self.turn

    def open_turn(self, live: InferenceEngine) -> bool:
        """Prepare the LLM's context for a user turn; over a reply it gets a fork. True if older turns were removed."""
        if self.reply is None:
            return self.context.forget(live.limit) > 0
        self.overlap = self.context.fork()
        if self.overlap.turns[-1].role is Role.REPLY:
            self.overlap.cut(self.reply.heard_tokens())
        return False

    def drop_turn(self, turn: UserTurnState | None) -> None:
        """Discard a user turn: the context is as if it had not been spoken."""
        if self.overlap is None and turn is not None:
            turn.leave(self.context)
        self.overlap = self.speculation = None

    def begin_reply(self, live: InferenceEngine, turn: UserTurnState | None) -> Iterable[Event]:
        """Begin the reply to a user turn; a turn of which nothing was recognized counts as empty.

        Returns the events of what has been made of it before.
        """
        made, self.speculation = self.speculation, None
        self.replies += 1
        if made is not None and turn is not None and made.answers(turn.rows):
            self.context, self.reply = made.context, made.reply
            for event in made.events:
                if event.kind is EventKind.AUDIO:
                    self.policy.play(self.reply.number, event.data["audio"])
            return made.events
        if turn is not None and turn.rows is None and not turn.continued:
            self.context.open(Role.USER, self.context.embed(())[:, :0])
        self.reply = live.reply(self.replies - 1, self.seed)
        return ()

    def end_reply(self, stopped: bool) -> None:
        """End the reply. Of a reply that was stopped, the context keeps what was heard."""
        assert self.reply is not None
        if stopped:
            self.policy.stop(self.reply.heard, self.reply.rate_hz)
            if self.context.turns[-1].role is Role.REPLY:
                self.context.cut(self.reply.heard_tokens())
        self.reply = None

    def adopt_turn(self, turn: UserTurnState | None, prompt: torch.Tensor) -> bool:
        """Take the turn over the reply into the conversation. True if it was fed again, as more of the reply was heard meanwhile."""
        overlap, self.overlap = self.overlap, None
        if overlap is None or turn is None or turn.rows is None:
            return False  # none of it has reached the LLM: it will open on the conversation's own context
        if turn.base == self.context.length:
            self.context = overlap
            return False
        turn.reenter(self.context, prompt)
        return True
