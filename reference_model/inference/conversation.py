"""The state of one conversation: every cache of it in one object, passed around and never copied as a whole."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch

from reference_model.inference.engine import InferenceEngine
from reference_model.inference.llm_context import LLMContext, Role
from reference_model.inference.reply import GeneratedReply
from reference_model.model import FreezeOmni
from reference_model.speech_input.adapter import AdapterReader
from reference_model.speech_input.log_mel import RATE_HZ
from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.turn_taking.echo_canceller import EchoCanceller
from reference_model.turn_taking.policy import TurnTakingPolicy
from reference_model.turn_taking.speech_activity import SpeechActivity, VoiceActivityDetector
from reference_model.turn_taking.state_machine import Phase


@dataclass(slots=True)
class UserTurnState:
    """A user turn on its way into the LLM: caches of encoder and adapter, chunks not yet encoded."""

    encoder: Any
    adapter: Any
    reader: AdapterReader
    hidden: torch.Tensor  # [D]: the LLM's, of the last row that it was given
    next: torch.Tensor | None  # [V]: the LLM's logits of what comes after that row; None: it was given none yet
    waiting: deque[torch.Tensor]  # features [1, frames, mels] a chunk
    rehearsal: int  # chunks from before the onset that are still waiting
    rows: torch.Tensor | None = None  # [1, n, D]: what the LLM was given of it; None: nothing yet
    base: int = 0  # how long the LLM's context was before
    continued: int = 0  # length of the user turn that it goes on with, if it does not begin one
    heard: list[tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=list
    )  # for a second pass: (chunk, adapter's output)
    reread: bool = False  # whether a second pass has read all that was said
    over: bool = False  # whether the state head has said, since the last speech, that the turn is to be answered

    @classmethod
    def begin(cls, model: FreezeOmni, chunks: list[torch.Tensor], before: torch.Tensor | None) -> UserTurnState:
        """A turn that begins with `chunks` from before the onset; the frames `before` them are the encoder's context."""
        frames = model.encoder.context
        encoder = model.encoder.begin(1, None if before is None or not frames else before[:, -frames:])
        hidden = model.prompt.new_zeros(model.config.llm_size)
        return cls(encoder, model.adapter.begin(1), model.adapter.reader(), hidden, None, deque(chunks), len(chunks))

    @property
    def nothing(self) -> bool:
        """Whether all of it has been heard and none of it understood."""
        return not self.waiting and self.rows is None

    @property
    def length(self) -> int:
        """Rows of the user turn."""
        return self.continued + (0 if self.rows is None else self.rows.shape[1])

    def listen(self, live: InferenceEngine) -> None:
        """Hear everything that waits."""
        self.rehearsal = max(0, self.rehearsal - len(self.waiting))
        while self.waiting:
            chunk = self.waiting.popleft()
            heard, self.encoder, self.adapter = live.hear(chunk, self.encoder, self.adapter)
            self.reader.push(heard)
            if live.model.rereader is not None:
                self.heard.append((chunk, heard))

    def ends(self, end_ids: Collection[int]) -> float:
        """How likely the LLM itself thinks that the turn is complete: natural log of the chance that its end comes next."""
        if self.next is None:
            return -math.inf
        known = [token for token in end_ids if token < len(self.next)]
        return float(self.next.log_softmax(-1)[known].logsumexp(-1))

    def speak_on(self) -> None:
        """More is being said: what a second pass has read is no longer all, and the turn not over."""
        self.over = False
        if self.reread:
            self.reread, self.reader.again = False, None

    def read_again(self, context: LLMContext, live: InferenceEngine) -> None:
        """The second pass: the LLM is given what all that was heard, read as a whole, turns out to be."""
        chunks, heard = (torch.cat(side, 1) for side in zip(*self.heard, strict=True))
        self.reader.again, self.reread = live.model.reread(chunks, heard), True
        self._understand(context, live)

    def enter(self, context: LLMContext, live: InferenceEngine) -> torch.Tensor:
        """Give the LLM what has been understood; returns what the state head judges it by [D + E]."""
        self._understand(context, live)
        return torch.cat([self.hidden, self.reader.evidence().to(self.hidden)])

    def _understand(self, context: LLMContext, live: InferenceEngine) -> None:
        """Bring what the LLM was given of it up to date."""
        if self.rows is None:
            self._follow(context)
        back, rows = self.reader.rows(live.backbone, following=self.continued > 0)
        self._give(context, back, rows, live.model.prompt)

    def enter_again(self, context: LLMContext, prompt: torch.Tensor) -> None:
        """Give another context all that the LLM was given of it so far."""
        rows, self.rows = self.rows, None
        self._follow(context)
        if rows is not None:
            self._give(context, 0, rows, prompt)

    def leave(self, context: LLMContext) -> None:
        """Take the turn out of the LLM's context again."""
        if self.rows is None:
            return
        if self.continued:
            context.cut(self.continued)
        else:
            context.drop()

    def _follow(self, context: LLMContext) -> None:
        """After a user turn that got no audible answer, it goes on with that turn."""
        last = context.turns[-1] if context.turns else None
        self.base, self.continued = context.length, last.length if last and last.role is Role.USER else 0

    def _give(self, context: LLMContext, back: int, rows: torch.Tensor, prompt: torch.Tensor) -> None:
        """Take the last `back` rows out of the context, and put `rows` [1, n, D] in: behind the prompt [P, D] if they begin a turn."""
        if back:
            assert self.rows is not None
            self.rows = self.rows[:, : self.rows.shape[1] - back]
            context.cut(context.turns[-1].length - back)
        if not rows.shape[1]:
            return
        if self.rows is None and not self.continued:
            hidden, logits = context.open(Role.USER, torch.cat([prompt[None].to(rows), rows], 1))
        else:
            hidden, logits = context.extend(rows)
        self.hidden, self.next = hidden[0, -1], logits[0, -1]
        self.rows = rows if self.rows is None else torch.cat([self.rows, rows], 1)


@dataclass(slots=True)
class Conversation:
    """One conversation, at one moment."""

    context: LLMContext  # what the LLM has in mind; while a reply is made, with all that was thought of it
    seed: int  # of all sampling
    detector: VoiceActivityDetector | None
    activity: SpeechActivity
    floor: TurnTakingPolicy
    recent: deque[torch.Tensor]  # the last chunks of features outside turns, each [1, frames, mels]
    before: torch.Tensor | None = None  # the chunk before them
    phase: Phase = Phase.WAITING
    front: Any = None  # of the streaming front end
    frames: torch.Tensor | None = None  # [1, n, mels]: features that do not yet fill a chunk
    hearing: UserTurnState | None = None
    overheard: LLMContext | None = None  # a fork: the reply as far as heard, then the turn that is spoken over it
    reply: GeneratedReply | None = None
    replies: int = 0

    @classmethod
    def begin(cls, live: InferenceEngine, seed: int) -> Conversation:
        duplex = live.settings.duplex
        return cls(
            context=live.opening(),
            seed=seed,
            detector=live.detector(),
            activity=SpeechActivity(duplex.release),
            floor=TurnTakingPolicy(duplex, EchoCanceller(RATE_HZ)),
            recent=deque(),
        )

    def take(self, samples: torch.Tensor, encoder: SpeechEncoder, keep: int) -> None:
        """Audio [N], as chunks of features: for the turn that is heard, else the last `keep` of them for the next."""
        features, self.front = encoder.front.step(samples[None].to(encoder.device), self.front)
        frames = features if self.frames is None else torch.cat([self.frames, features], 1)
        whole = frames.shape[1] // encoder.chunk
        self.frames = frames[:, whole * encoder.chunk :]
        chunks = [frames[:, i * encoder.chunk : (i + 1) * encoder.chunk] for i in range(whole)]
        if self.hearing is not None:
            self.hearing.waiting.extend(chunks)
        else:
            self.recent.extend(chunks)
        while len(self.recent) > keep:
            self.before = self.recent.popleft()

    # ---- turns and replies ---------------------------------------------------------------------------------------------

    def hear(self, model: FreezeOmni) -> UserTurnState:
        """What is heard from now on, and shortly before, belongs to a new user turn."""
        self.hearing = UserTurnState.begin(model, list(self.recent), self.before)
        self.recent.clear()
        return self.hearing

    def open_turn(self, live: InferenceEngine) -> bool:
        """A user turn begins; over a reply it gets a context of its own. True if older turns had to be forgotten."""
        if self.reply is None:
            return self.context.forget(live.limit) > 0
        self.overheard = self.context.fork()
        if self.overheard.turns[-1].role is Role.REPLY:
            self.overheard.cut(self.reply.heard_tokens())
        return False

    def drop_turn(self, hearing: UserTurnState | None) -> None:
        """The user turn came to nothing: as if it had not been heard."""
        if self.overheard is None and hearing is not None:
            hearing.leave(self.context)
        self.overheard = None

    def begin_reply(self, live: InferenceEngine, hearing: UserTurnState | None) -> None:
        """To what the user said; to a turn of which nothing was understood as to an empty one."""
        if hearing is not None and hearing.rows is None and not hearing.continued:
            self.context.open(Role.USER, live.model.prompt[None, :0])
        self.reply = live.reply(self.replies, self.seed)
        self.replies += 1

    def end_reply(self, heard_only: bool) -> None:
        """The reply is over. A reply that was stopped is remembered as far as it was heard."""
        assert self.reply is not None
        if heard_only and self.context.turns[-1].role is Role.REPLY:
            self.context.cut(self.reply.heard_tokens())
        self.reply = None

    def adopt_turn(self, hearing: UserTurnState | None, prompt: torch.Tensor) -> bool:
        """The overheard turn becomes the conversation's. True if it had to be thought over, as more was heard meanwhile."""
        overheard, self.overheard = self.overheard, None
        if overheard is None or hearing is None or hearing.rows is None:
            return False  # nothing of it has reached the LLM: it will open on the conversation's own context
        if hearing.base == self.context.length:
            self.context = overheard
            return False
        hearing.enter_again(self.context, prompt)
        return True
