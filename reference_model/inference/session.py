"""One live conversation: audio in, events out, one unit of work per step.

Observations become signals, signals become actions through the table of `turn_taking/state_machine.py`, and actions change the one
state object. Text, codec tokens and audio are generated in turns, so that playback begins while text is still being generated;
encoding the user's audio always comes first. A reply is begun before the turn is known to be over (`speculation`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Self

import torch

from fobench.api.types import Action, AudioChunk, Event, EventKind
from reference_model.inference.conversation import Conversation, UserTurnState
from reference_model.inference.engine import InferenceEngine
from reference_model.inference.reply import GeneratedReply
from reference_model.inference.reply_generation import next_piece
from reference_model.inference.speculation import SpeculativeReply
from reference_model.turn_taking.policy import VoiceEvent
from reference_model.turn_taking.state_head import TurnState
from reference_model.turn_taking.state_machine import Phase, Signal, TurnAction, transition

SIGNALS = {TurnState.ANSWER: Signal.ANSWER, TurnState.IGNORE: Signal.IGNORE}


class FreezeOmniSession:
    """A conversation with the model of an `InferenceEngine`, which sessions share and never change."""

    def __init__(self, live: InferenceEngine, seed: int) -> None:
        self._live, self._settings = live, live.settings.duplex
        self._state = Conversation.begin(live, seed)
        self._events: deque[Event] = deque()
        self._actions: deque[tuple[TurnAction, UserTurnState | None]] = deque()  # each with the user turn it is about

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._state

    def heard(self, reply: int, samples: int) -> None:
        """Register how many samples of a reply have been played, as `fobench.api.components.Session` says."""
        if (current := self._state.reply) is not None and current.number == reply:
            current.heard = samples
            self._state.policy.heard(reply, samples, current.rate_hz)

    @torch.no_grad()
    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        """The events that a chunk of microphone audio leads to; each step of the iterator does one unit of work."""
        self._listen(chunk)
        return self._work()

    def finish(self) -> Iterator[Event]:
        return iter(())

    # ---- observations --------------------------------------------------------------------------------------------------

    def _listen(self, chunk: AudioChunk) -> None:
        """Take audio in, window by window: features for the encoder, and the signals of the turn-taking policy."""
        state = self._state
        ending = any(action in (TurnAction.STOP, TurnAction.CLOSE) for action, _ in self._actions)  # of this reply
        if state.reply is not None and state.reply.over and not ending:
            self._signal(Signal.DONE)
        keep = self._settings.pre_roll if state.policy.detector is not None else 0
        for window, event in state.policy.push(chunk.samples):
            state.take(torch.from_numpy(window), self._live.model.encoder, keep)
            self._observe(event)

    def _observe(self, event: VoiceEvent) -> None:
        """Map a voice event to signals."""
        state, turn = self._state, self._state.turn
        if turn is not None and event in (VoiceEvent.ONSET, VoiceEvent.SPEECH):
            turn.resume()
        if event is VoiceEvent.ONSET:
            self._signal(Signal.ONSET)
        elif turn is None:
            return
        elif event is VoiceEvent.SPEECH:
            if not state.policy.rules_apply(turn.reader.text):  # else words decide, after each encoded chunk
                self._barge_in(turn)
        elif event is VoiceEvent.TIMEOUT:
            brief = state.phase is Phase.OVERLAP and state.policy.activity.speech < self._settings.barge_in
            if brief or turn.nothing:  # a backchannel over the reply, or no words
                self._signal(Signal.NO_INPUT)
            else:
                self._accept(Signal.ANSWER)
        elif turn.over and state.policy.silent:
            self._accept(Signal.ANSWER)

    def _barge_in(self, turn: UserTurnState) -> None:
        """Check whether speech over a reply is a barge-in."""
        if self._state.phase is Phase.OVERLAP and (signal := self._state.policy.barge_in(turn.reader.text)) is not None:
            self._signal(signal)

    def _predict(self, predicted: TurnState, length: int) -> None:
        """Act on the state head's prediction for the current turn, of `length` rows."""
        state = self._state
        if predicted is TurnState.ANSWER and state.turn is not None and state.policy.activity.silence:
            state.turn.over = True  # the prediction holds until there is more speech
        if predicted in SIGNALS and state.policy.silent:
            self._accept(SIGNALS[predicted])
        elif length >= self._live.settings.max_turn_rows:
            self._signal(Signal.NO_INPUT)

    def _accept(self, predicted: Signal) -> None:
        """Emit the signals as which the policy accepts a predicted end of the user turn."""
        if (turn := self._state.turn) is not None:
            end_logprob = turn.end_logprob(self._live.end_ids)
            for signal in self._state.policy.accept(predicted, turn.reader.text, end_logprob):
                self._signal(signal)

    def _signal(self, signal: Signal) -> None:
        """Make the transition of a signal, and queue its actions for `_unit`; audio from now on belongs to the turn it begins."""
        state, turn = self._state, self._state.turn
        empty = signal in (Signal.IGNORE, Signal.NO_INPUT)
        if empty and turn is not None and turn.continued and not state.overlap:
            signal = Signal.ANSWER  # the earlier turn that it continues still needs an answer
        phase, actions = transition(state.phase, signal)
        if phase is state.phase and not actions:
            return
        state.phase = phase
        state.policy.follow(actions, overlapping=phase is Phase.OVERLAP)
        if TurnAction.BEGIN_TURN in actions:
            turn = state.begin_turn(self._live.model)
        elif TurnAction.DROP in actions or TurnAction.REPLY in actions:
            state.turn = None
        self._actions.extend((action, turn) for action in actions)
        self._events.extend(_events(signal, actions))

    # ---- work: one unit per step, the most urgent first ----------------------------------------------------------------

    @torch.no_grad()
    def _work(self) -> Iterator[Event]:
        while (event := self._unit()) is not None:
            yield event

    def _unit(self) -> Event | None:
        if self._events:
            return self._events.popleft()
        while self._actions:
            action, turn = self._actions[0]
            if action is TurnAction.REPLY and turn is not None:  # all of the turn is recognized before the reply begins
                if turn.waiting:
                    return self._encode(turn)
                if self._second_pass_due(turn):
                    return self._second_pass(turn)
            self._actions.popleft()
            if (work := self._do(action, turn)) is not None:
                return Event(EventKind.BUSY, {"work": work, "path": "input"})
        if self._events:
            return self._events.popleft()
        state, turn = self._state, self._state.turn
        if turn is not None and turn.waiting:
            return self._encode(turn)
        if turn is not None and self._second_pass_due(turn) and state.policy.activity.silence >= self._settings.reread:
            return self._second_pass(turn)  # early, in case the turn is over
        if turn is not None and self._speculation_due(turn):
            return self._speculate(turn)
        if state.reply is not None and not state.reply.ended:
            return self._continue(state.reply)
        return None

    def _do(self, action: TurnAction, turn: UserTurnState | None) -> str | None:
        """Execute an action. Returns the name of the LLM's work for it, None for an action without any."""
        state, live = self._state, self._live
        if action is TurnAction.BEGIN_TURN:
            return "forget" if state.open_turn(live) else None
        if action is TurnAction.DROP:
            state.drop_turn(turn)
        elif action is TurnAction.REPLY:
            made = state.begin_reply(live, turn)
            if turn is not None and turn.reader.text is not None:
                self._events.append(Event(EventKind.TRANSCRIPT, {"text": turn.reader.text}))
            self._events.extend(made)
        else:
            state.end_reply(stopped=action is TurnAction.STOP)
            return "adopt" if state.adopt_turn(turn, live.model.prompt) else None
        return None

    def _encode(self, turn: UserTurnState) -> Event:
        """Encode all waiting chunks of a turn, feed them to the LLM, and act on the state head's prediction after the last."""
        live, state = self._live, self._state
        pre_roll = len(turn.waiting) <= turn.rehearsal  # only audio from before the onset: the head is not asked
        turn.listen(live)
        features = turn.enter(state.overlap or state.context, live)
        p, memory = live.model.state_head.step(features, turn.memory)  # [3]
        if not pre_roll:
            turn.memory = memory
        if not pre_roll and self._settings.turn_end != "vad" and not self._actions:
            self._predict(live.model.state_head.decide(p), turn.length)
        elif turn.length >= live.settings.max_turn_rows and not self._actions:
            self._signal(Signal.NO_INPUT)
        if turn is state.turn:
            self._barge_in(turn)
        return Event(EventKind.STATE, {f"p{i}": round(float(value), 4) for i, value in enumerate(p)})

    def _second_pass_due(self, turn: UserTurnState) -> bool:
        """Whether there is a second pass that has not recognized all of the turn."""
        return self._live.model.rereader is not None and not turn.reread and bool(turn.outputs)

    def _second_pass(self, turn: UserTurnState) -> Event:
        turn.run_second_pass(self._state.overlap or self._state.context, self._live)
        return Event(EventKind.BUSY, {"work": "reread", "path": "input"})

    # ---- replies -------------------------------------------------------------------------------------------------------

    def _continue(self, reply: GeneratedReply) -> Event:
        event = next_piece(self._live, self._state.context, reply)
        if event.kind is EventKind.AUDIO:
            self._state.policy.play(reply.number, event.data["audio"])
        return event

    def _speculation_due(self, turn: UserTurnState) -> bool:
        """Whether to work on a reply to a turn that may be over. All that it is based on has been recognized (`_unit`)."""
        state, live = self._state, self._live
        if state.speculation is not None and state.speculation.answers(turn.rows):
            return state.policy.activity.silence > 0 and not state.speculation.enough(live)
        state.speculation = None
        listening = state.phase is Phase.LISTENING and state.policy.activity.silence >= self._settings.reread
        if not listening or turn.rows is None or not live.settings.speculative_s or not live.hears_text:
            return False
        return state.policy.answerable(turn.reader.text, turn.end_logprob(live.end_ids))

    def _speculate(self, turn: UserTurnState) -> Event:
        """The next piece of a speculative reply."""
        state = self._state
        if state.speculation is None:
            assert turn.rows is not None
            reply = self._live.reply(state.replies, state.seed)
            state.speculation = SpeculativeReply.begin(turn.rows, state.context, reply)
        return state.speculation.advance(self._live)


def _events(signal: Signal, actions: tuple[TurnAction, ...]) -> Iterator[Event]:
    """The events that report a signal and its actions."""
    if signal is Signal.ONSET:
        yield Event(EventKind.SPEECH_START)
    elif signal in (Signal.ANSWER, Signal.IGNORE):
        yield Event(EventKind.SPEECH_END)
    if signal is Signal.IGNORE:
        yield Event(EventKind.DECISION, {"action": Action.IGNORE})
    if TurnAction.STOP in actions:
        yield Event(EventKind.DECISION, {"action": Action.YIELD})
    if TurnAction.REPLY in actions:
        yield Event(EventKind.DECISION, {"action": Action.SPEAK})
