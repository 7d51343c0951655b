"""One live conversation: audio in, events out, one unit of work a step.

What is observed becomes signals, signals become acts through the table in `turn_taking/state_machine.py`, and acts change the one state object.
Text, codec tokens and audio are made in turns, so that sound flows while the text is still being thought; hearing the user
always comes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Self

import torch

from fobench.api.types import Action, AudioChunk, Event, EventKind
from reference_model.inference.conversation import Conversation, UserTurnState
from reference_model.inference.engine import InferenceEngine
from reference_model.inference.llm_context import Role
from reference_model.inference.reply import GeneratedReply, SpokenSegment
from reference_model.turn_taking.state_head import TurnState
from reference_model.turn_taking.state_machine import Phase, Signal, TurnAction, transition

VERDICTS = {TurnState.ANSWER: Signal.ANSWER, TurnState.IGNORE: Signal.IGNORE}


class FreezeOmniSession:
    """A conversation with a `InferenceEngine` model, which it shares with others and never changes."""

    def __init__(self, live: InferenceEngine, seed: int) -> None:
        self._live, self._duplex = live, live.settings.duplex
        self._state = Conversation.begin(live, seed)
        self._events: deque[Event] = deque()
        self._acts: deque[tuple[TurnAction, UserTurnState | None]] = deque()  # each with the user turn that it is about

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._state

    def heard(self, reply: int, samples: int) -> None:
        if (current := self._state.reply) is not None and current.number == reply:
            current.heard = samples
            self._state.floor.heard(reply, samples, current.rate_hz)

    @torch.no_grad()
    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        self._listen(chunk)
        return self._work()

    def finish(self) -> Iterator[Event]:
        return iter(())

    # ---- observing -----------------------------------------------------------------------------------------------------

    def _listen(self, chunk: AudioChunk) -> None:
        """Take audio in, window by window: features, activity, and the signals that follow."""
        state, samples = self._state, self._state.floor.clean(chunk.samples)
        ending = any(
            act in (TurnAction.STOP, TurnAction.CLOSE) for act, _ in self._acts
        )  # of this reply, and another may follow
        if state.reply is not None and state.reply.over and not ending:
            self._signal(Signal.DONE)
        if state.detector is None:
            state.take(torch.from_numpy(samples), self._live.model.encoder, keep=0)
            self._signal(Signal.ONSET)  # without a detector it listens always
            return
        for window, probability in state.detector.push(samples):
            speech = probability >= self._duplex.speech_probability
            state.take(torch.from_numpy(window), self._live.model.encoder, self._duplex.pre_roll)
            state.floor.push(window, speech)
            self._observe(speech)

    def _observe(self, speech: bool) -> None:
        """One window of the voice activity detector."""
        state, activity, duplex = self._state, self._state.activity, self._duplex
        activity.push(speech)
        if speech and state.hearing is not None:
            state.hearing.speak_on()
        if speech and activity.speech == duplex.onset:
            self._signal(Signal.ONSET)
        elif speech and state.hearing is not None and not (duplex.manners and state.hearing.reader.text is not None):
            self._barge_in(state.hearing)  # else words decide: once a chunk has been heard
        elif activity.silence in (duplex.end, duplex.unfinished) and duplex.turn_end != "head":
            self._rule()
        elif activity.silence >= duplex.heed and state.hearing is not None and state.hearing.over:
            self._heed(Signal.ANSWER)

    def _barge_in(self, hearing: UserTurnState) -> None:
        """What is being said over a reply may be meant to stop it."""
        state = self._state
        if state.phase is Phase.OVERHEARING and self._duplex.barge_in_at == "onset":
            called = state.floor.interrupts(hearing.reader.text, state.activity.speech)
            if called is not None:
                self._signal(called)

    def _rule(self) -> None:
        """Silence has ended a turn before the state head did: answered, unless it was a murmur over the reply, or no words."""
        state = self._state
        murmured = state.phase is Phase.OVERHEARING and state.activity.speech < self._duplex.barge_in
        wordless = state.hearing is not None and state.hearing.nothing
        if murmured or wordless:
            self._signal(Signal.LOST)
        else:
            self._heed(Signal.ANSWER)

    def _heed(self, verdict: Signal) -> None:
        """A verdict on the user's turn, as far as manners let it stand."""
        state, hearing = self._state, self._state.hearing
        if hearing is not None:
            ends = hearing.ends(self._live.end_ids)
            for signal in state.floor.verdict(verdict, hearing.reader.text, ends, state.activity.silence):
                self._signal(signal)

    def _signal(self, signal: Signal) -> None:
        """What the signal calls for, to be done by the work that follows; what is heard from now on belongs to what it opens."""
        state, hearing = self._state, self._state.hearing
        if signal in (Signal.IGNORE, Signal.LOST) and hearing is not None and hearing.continued and not state.overheard:
            signal = Signal.ANSWER  # the turn that it went on with is still to be answered
        phase, acts = transition(state.phase, signal)
        if phase is state.phase and not acts:
            return
        state.phase = phase
        if TurnAction.REPLY in acts:
            state.floor.answered()
        if TurnAction.OPEN in acts:
            hearing = state.hear(self._live.model)
            state.floor.open(over=phase is Phase.OVERHEARING)
        elif TurnAction.DROP in acts or TurnAction.REPLY in acts:
            state.hearing = None
        self._acts.extend((act, hearing) for act in acts)
        self._events.extend(_told(signal, acts))

    # ---- working: one unit a step, the most urgent first ---------------------------------------------------------------

    @torch.no_grad()
    def _work(self) -> Iterator[Event]:
        while (event := self._unit()) is not None:
            yield event

    def _unit(self) -> Event | None:
        if self._events:
            return self._events.popleft()
        while self._acts:
            act, hearing = self._acts[0]
            if act is TurnAction.REPLY and hearing is not None and hearing.waiting:
                return self._hear(hearing)  # what was said before the turn's end comes first
            if act is TurnAction.REPLY and hearing is not None and self._unread(hearing):
                return self._reread(hearing)
            self._acts.popleft()
            if (work := self._do(act, hearing)) is not None:
                return Event(EventKind.BUSY, {"work": work, "path": "input"})
        hearing, reply = self._state.hearing, self._state.reply
        if hearing is not None and hearing.waiting:
            return self._hear(hearing)
        if hearing is not None and self._unread(hearing) and self._state.activity.silence >= self._duplex.reread:
            return self._reread(hearing)  # should the turn be over, it is understood by then
        if reply is not None and not reply.ended:
            return self._work_on(reply)
        return None

    def _do(self, act: TurnAction, hearing: UserTurnState | None) -> str | None:
        """An act on the state. Returns the name of what had to be thought for it; most take no time."""
        state, live = self._state, self._live
        if act is TurnAction.OPEN:
            return "forget" if state.open_turn(live) else None
        if act is TurnAction.DROP:
            state.drop_turn(hearing)
        elif act is TurnAction.REPLY:
            state.begin_reply(live, hearing)
            if hearing is not None and hearing.reader.text is not None:
                self._events.append(Event(EventKind.TRANSCRIPT, {"text": hearing.reader.text}))
        else:
            if act is TurnAction.STOP and state.reply is not None:
                state.floor.own.stop(state.reply.heard, state.reply.rate_hz)
            state.end_reply(heard_only=act is TurnAction.STOP)
            return "adopt" if state.adopt_turn(hearing, live.model.prompt) else None
        return None

    def _hear(self, hearing: UserTurnState) -> Event:
        """All chunks that wait, and what the state head says after the last of them."""
        live, state = self._live, self._state
        rehearsed = len(hearing.waiting) <= hearing.rehearsal  # only audio from before the onset: no verdict on it
        hearing.listen(live)
        seen = hearing.enter(state.overheard or state.context, live)
        p = live.model.state_head.probabilities(seen)  # [3]
        if not rehearsed and self._duplex.turn_end != "vad" and not self._acts:
            self._judge(live.model.state_head.decide(p), hearing.length)
        if hearing is state.hearing and state.activity.silence == 0:
            self._barge_in(hearing)
        return Event(EventKind.STATE, {f"p{i}": round(float(value), 4) for i, value in enumerate(p)})

    def _unread(self, hearing: UserTurnState) -> bool:
        """Whether there is a second pass, and something that it has not read."""
        return self._live.model.rereader is not None and not hearing.reread and bool(hearing.heard)

    def _reread(self, hearing: UserTurnState) -> Event:
        """The second pass over a user turn."""
        state = self._state
        hearing.read_again(state.overheard or state.context, self._live)
        return Event(EventKind.BUSY, {"work": "reread", "path": "input"})

    def _judge(self, verdict: TurnState, length: int) -> None:
        state, heed = self._state, 0 if self._state.detector is None else self._duplex.heed
        if verdict is TurnState.ANSWER and state.hearing is not None and state.activity.silence:
            state.hearing.over = True  # it stands, unless more is said
        if verdict in VERDICTS and state.activity.silence >= heed:
            self._heed(VERDICTS[verdict])
        elif length >= self._live.settings.max_turn_rows:
            self._signal(Signal.LOST)

    # ---- replying ------------------------------------------------------------------------------------------------------

    def _work_on(self, reply: GeneratedReply) -> Event:
        """The next piece of a reply: sound while the listener may run out of it, else thoughts, else what is left to say."""
        sayable = reply.speech is not None or bool(reply.waiting)
        if sayable and (reply.thought or reply.ahead_s < self._live.settings.ahead_s):
            return self._say(reply)
        if not reply.thought:
            return self._think(reply)
        reply.ended = True
        return Event(EventKind.REPLY_END, {"reply": reply.number})

    def _think(self, reply: GeneratedReply) -> Event:
        """One token of the reply. The first includes the prefill; the token that ends the turn is not fed to the LLM."""
        live, state = self._live, self._state
        first = not reply.tokens
        if first:
            hidden, logits = state.context.open(Role.REPLY, state.context.embed(()))
        else:
            hidden, logits = state.context.extend(state.context.embed(reply.tokens[-1:]))
        token = live.settings.text.sample(logits[0, -1], reply.generator)
        if token in live.end_ids or len(reply.tokens) >= live.settings.max_tokens:
            return self._token_event(reply, reply.finish(), "last_token")
        piece = reply.add(token, hidden[0, -1])
        return self._token_event(reply, piece, "first_token" if first else "token")

    def _token_event(self, reply: GeneratedReply, text: str, work: str) -> Event:
        if not text:
            return Event(EventKind.BUSY, {"work": work, "reply": reply.number})
        return Event(EventKind.TOKEN, {"text": text, "reply": reply.number, "work": work})

    def _say(self, reply: GeneratedReply) -> Event:
        """A segment's prefill, or its next packet of audio."""
        live = self._live
        if reply.speech is None:
            segment = reply.waiting.popleft()
            reply.speech = live.speech(reply, segment)
            reply.said.append(SpokenSegment(segment, whole=reply.speech is None))
            return Event(EventKind.BUSY, {"work": "speech_prefill"})
        said = reply.said[-1]
        audio = reply.speech.packet(live.settings.packets.later if reply.samples else live.settings.packets.first)
        text = said.segment.text if not said.samples else ""
        said.samples += len(audio)
        if reply.speech.done:
            reply.speech, said.whole = None, True
        if not len(audio):
            return Event(EventKind.BUSY, {"work": "speech_tokens"})
        return Event(EventKind.AUDIO, self._audio(reply, audio, text))

    def _audio(self, reply: GeneratedReply, audio: torch.Tensor, text: str) -> dict[str, Any]:
        chunk = AudioChunk(audio.float().clamp(-1, 1).cpu().numpy(), reply.rate_hz)
        self._state.floor.play(reply.number, chunk)
        return {"audio": chunk, "reply": reply.number, "text": text}


def _told(signal: Signal, acts: tuple[TurnAction, ...]) -> Iterator[Event]:
    """What the listener at the other end of the session's events learns of a signal."""
    if signal is Signal.ONSET:
        yield Event(EventKind.SPEECH_START)
    elif signal in (Signal.ANSWER, Signal.IGNORE):
        yield Event(EventKind.SPEECH_END)
    if signal is Signal.IGNORE:
        yield Event(EventKind.DECISION, {"action": Action.IGNORE})
    if TurnAction.STOP in acts:
        yield Event(EventKind.DECISION, {"action": Action.YIELD})
    if TurnAction.REPLY in acts:
        yield Event(EventKind.DECISION, {"action": Action.SPEAK})
