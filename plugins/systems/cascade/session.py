"""A conversation with the cascade, with rule-based turn-taking:

- The user's turn ends after a silence, a longer one after an incomplete sentence. Transcription begins before, and then a reply,
  which is discarded if the user goes on (`speculation`).
- The partial hypothesis of near-field speech over a reply is checked while it lasts: a barge-in request stops the reply, a
  backchannel does not unless it lasts long. Far-field speech is ignored.
- What stopped a reply is judged again at its end: after a backchannel or words to another person, the reply resumes where it was
  last heard; after a stop request there is silence; all else is answered.
- The echo of the system's own voice is recognized and cancelled.
- The conversation's history keeps of a reply what was heard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Self

from fobench.api.types import Action, AudioChunk, Event, EventKind, Message, Samples
from fobench_plugins.systems.cascade.clause_splitter import speakable
from fobench_plugins.systems.cascade.components import Components
from fobench_plugins.systems.cascade.speculation import SpeculativeReply
from fobench_plugins.systems.cascade.turn_state import CascadeReply, CascadeTiming, UserTurn
from reference_model.turn_taking import lexical_rules
from reference_model.turn_taking.echo_canceller import EchoCanceller
from reference_model.turn_taking.energy_vad import NEARBY, NearFieldGate
from reference_model.turn_taking.silero_vad import RATE_HZ, WINDOW
from reference_model.turn_taking.speech_activity import VoiceActivityDetector

SPEECH_PROBABILITY = 0.5
OVER_PROBABILITY = 0.3  # lower over a reply, where the words decide
HURRY_S = 1.0  # audio left to play: time for a sentence of 20 tokens by a slow LLM, and the beginning of its audio
PRE_ROLL = 10  # windows kept from before the onset, 320 ms


class CascadeSession:
    """One conversation."""

    def __init__(
        self, components: Components, detector: VoiceActivityDetector, timing: CascadeTiming, seed: int
    ) -> None:
        self._components, self._detector, self._timing, self._seed = components, detector, timing, seed
        self._before: deque[Samples] = deque(maxlen=PRE_ROLL)
        self._history: list[Message] = []
        self._turn: UserTurn | None = None
        self._reply: CascadeReply | None = None
        self._stopped: CascadeReply | None = None  # the reply that the current user turn has stopped
        self._speculation: SpeculativeReply | None = None  # to the current user turn
        self._nearness = NearFieldGate(timing.near_db)
        self._replies = 0  # begun so far
        self._position = 0  # samples received from the microphone
        self._own = EchoCanceller(RATE_HZ)
        self._events: deque[Event] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._reply = self._stopped = self._turn = self._speculation = None

    def heard(self, reply: int, samples: int) -> None:
        for own in (self._reply, self._stopped):
            if own is not None and own.number == reply:
                own.heard = samples
        self._own.heard(reply, samples, self._components.voice.rate_hz, self._position + WINDOW, since=WINDOW)

    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        samples = self._own.clean(chunk.samples, self._position)
        self._position += len(samples)
        for window, probability in self._detector.push(samples):
            self._listen(window, probability >= (OVER_PROBABILITY if self._speaking() else SPEECH_PROBABILITY))
        return self._work()

    def finish(self) -> Iterator[Event]:
        return iter(())

    # ---- listening ---------------------------------------------------------------------------------------------------

    def _listen(self, window: Samples, speech: bool) -> None:
        if self._turn is None:
            if not speech:
                self._before.append(window)
                return
            self._turn = UserTurn(list(self._before))
        turn = self._turn
        turn.hear(window, speech)
        if speech and turn.speech == self._timing.onset:
            self._events.append(Event(EventKind.SPEECH_START))
        self._decide(turn)

    def _decide(self, turn: UserTurn) -> None:
        timing = self._timing
        if self._speaking():
            turn.look_due = turn.looks < len(timing.looks) and turn.speech >= timing.looks[turn.looks]
            if turn.speech >= timing.barge_in and turn.worded and self._near(turn):
                self._stop_reply()
        if turn.speech < timing.onset or (self._speaking() and not self._near(turn)):
            if turn.silence >= timing.eager:  # a click, or far-field speech
                self._drop_turn()
        elif turn.silence >= (timing.eager if self._speaking() else self._patience(turn)) and not turn.ended:
            turn.ended = True
            self._events.append(Event(EventKind.SPEECH_END))

    def _patience(self, turn: UserTurn) -> int:
        """The end-of-turn timeout, in windows."""
        open_ended = turn.transcript is not None and lexical_rules.unfinished(turn.transcript)
        return self._timing.unfinished if open_ended else self._timing.end

    def _near(self, turn: UserTurn) -> bool:
        return self._nearness.of(turn.loudest)

    def _speaking(self) -> bool:
        """Whether a reply is being generated or played."""
        reply = self._reply
        return reply is not None and not (reply.ended and reply.heard >= reply.spoken.samples)

    def _drop_turn(self) -> None:
        assert self._turn is not None
        self._before.extend(self._turn.windows[-PRE_ROLL:])
        self._turn = self._speculation = None

    # ---- work: one unit per step, the most urgent first --------------------------------------------------------------

    def _work(self) -> Iterator[Event]:
        while (event := self._unit()) is not None:
            yield event

    def _unit(self) -> Event | None:
        if self._events:
            return self._events.popleft()
        if self._turn is not None and self._turn.look_due and self._speaking():
            return self._look(self._turn)
        if self._turn is not None and self._to_transcribe(self._turn):
            return self._transcribe(self._turn)
        if self._turn is not None and self._turn.ended:
            return self._take_turn(self._turn)
        if self._turn is not None and self._to_speculate(self._turn):
            return self._speculate(self._turn)
        if self._reply is not None and not self._reply.ended:
            return self._emitted(self._speak(self._reply))
        return None

    def _to_transcribe(self, turn: UserTurn) -> bool:
        timing = self._timing
        paused = turn.silence >= timing.eager and turn.speech >= timing.onset and not self._speaking()
        return turn.transcript is None and (paused or turn.ended)

    def _look(self, turn: UserTurn) -> Event:
        """Check the speech over the reply: for an echo of the reply, then for a barge-in request in its partial hypothesis."""
        turn.looks, turn.look_due = turn.looks + 1, False
        recent = turn.audio.samples[-NEARBY * len(turn.windows[-1]) :]
        if echo := self._own.recognize(recent, self._position - len(recent)):
            self._drop_turn()
        if echo or not self._near(turn):
            return Event(EventKind.BUSY, {"work": "own_voice", "path": "input"})
        text = self._components.hear(turn.audio, glimpse=True)
        turn.worded = turn.worded or bool(lexical_rules.words(text))
        if lexical_rules.claiming(text, turn.looks):
            self._stop_reply()
        return Event(EventKind.BUSY, {"work": "look", "path": "input"})

    def _transcribe(self, turn: UserTurn) -> Event:
        turn.transcript = self._components.hear(turn.audio).strip()
        turn.ended = turn.ended and (self._speaking() or turn.silence >= self._patience(turn))
        return Event(EventKind.BUSY, {"work": "transcribe", "path": "input"})

    def _take_turn(self, turn: UserTurn) -> Event:
        """End the turn: its transcript, and the decision to answer or to ignore it."""
        text, over, speculation = turn.transcript or "", self._speaking(), self._speculation
        self._drop_turn()
        if lexical_rules.stopping(text) and (over or self._stopped):
            if over:
                self._stop_reply()
            self._remember(self._stopped)
            return self._report(text, Action.IGNORE)
        if over:
            return Event(EventKind.DECISION, {"action": Action.IGNORE})
        if not self._answerable(turn, text):
            self._resume_reply()
            return Event(EventKind.DECISION, {"action": Action.IGNORE})
        self._nearness.answered(turn.loudest)
        return self._answer(text, speculation)

    def _answerable(self, turn: UserTurn, text: str) -> bool:
        """Whether the words of a turn that no reply is played over are to be answered, if they do not stop one."""
        no_request = self._stopped is not None and (lexical_rules.listening(text) or lexical_rules.calling(text))
        return bool(text) and self._near(turn) and not no_request

    def _answer(self, text: str, speculation: SpeculativeReply | None) -> Event:
        """Begin the reply, or adopt the speculative one if it answers the same words."""
        self._remember(self._stopped)
        self._remember(self._reply)
        self._history.append({"role": "user", "content": text})
        first = self._report(text, Action.SPEAK)
        if speculation is not None and speculation.messages == self._history:
            self._reply = speculation.reply
            self._events.extend(map(self._emitted, speculation.events))
        else:
            self._reply = CascadeReply(self._replies, self._components.stream(self._history, self._seed))
        self._replies += 1
        return first

    # ---- replies -----------------------------------------------------------------------------------------------------

    def _to_speculate(self, turn: UserTurn) -> bool:
        """Whether to work on a reply to a turn that has been transcribed and may be over."""
        timing, text = self._timing, turn.transcript
        if not timing.speculate or not text or self._speaking():
            return False
        stops = self._stopped is not None and lexical_rules.stopping(text)
        if stops or not self._answerable(turn, text) or turn.silence < self._patience(turn) - timing.end + timing.eager:
            return False
        made = self._speculation
        return made is None or not made.reply.ended or made.messages != self._asked(text)

    def _speculate(self, turn: UserTurn) -> Event:
        """The next piece of a speculative reply."""
        messages = self._asked(turn.transcript or "")
        if self._speculation is None or self._speculation.messages != messages:
            tokens = self._components.stream(messages, self._seed)
            self._speculation = SpeculativeReply.begin(messages, self._replies, tokens)
        return self._speculation.keep(self._speak(self._speculation.reply))

    def _asked(self, text: str) -> list[Message]:
        """The conversation, ending with a question."""
        heard = [_heard(reply) for reply in (self._stopped, self._reply) if reply is not None]
        return [
            *self._history,
            *(message for message in heard if message["content"]),
            {"role": "user", "content": text},
        ]

    def _report(self, text: str, action: Action) -> Event:
        self._events.append(Event(EventKind.DECISION, {"action": action}))
        return Event(EventKind.TRANSCRIPT, {"text": text})

    def _speak(self, reply: CascadeReply) -> Event:
        """The next piece of a reply: audio of complete clauses, else text."""
        text = ""
        if reply.audio is None and reply.clause is not None:
            text, reply.clause = reply.clause, reply.splitter.push("", hurry=self._hurried(reply))
            reply.audio = self._components.say(speakable(text), self._seed)
            reply.spoken.begin(text, self._components.voice.rate_hz)
        if reply.audio is not None:
            if (audio := next(reply.audio, None)) is not None:
                reply.spoken.add(len(audio.samples))
                return Event(EventKind.AUDIO, {"audio": audio, "reply": reply.number, "text": text})
            reply.audio = None
            reply.spoken.complete()
            return self._speak(reply)
        if reply.generated:
            reply.ended = True
            return Event(EventKind.REPLY_END, {"reply": reply.number})
        token = next(reply.tokens, None)
        if token is None:
            reply.generated = True
            reply.clause = reply.splitter.flush(reply.thoughts.flush())
            return Event(EventKind.BUSY, {"work": "last_token"})
        reply.clause = reply.splitter.push(reply.thoughts.push(token), hurry=self._hurried(reply))
        work, reply.begun = ("token" if reply.begun else "first_token"), True
        return Event(EventKind.TOKEN, {"text": token, "reply": reply.number, "work": work})

    def _hurried(self, reply: CascadeReply) -> bool:
        """Whether the player is about to run out of the reply's audio."""
        return reply.spoken.samples - reply.heard < HURRY_S * self._components.voice.rate_hz

    def _emitted(self, event: Event) -> Event:
        """The event, after its audio has been noted as the system's own voice."""
        if event.kind is EventKind.AUDIO:
            self._own.play(event.data["reply"], event.data["audio"])
        return event

    # ---- the end of a reply -----------------------------------------------------------------------------------------

    def _stop_reply(self) -> None:
        self._events.append(Event(EventKind.DECISION, {"action": Action.YIELD}))
        self._stopped, self._reply = self._reply, None
        if self._stopped is not None:
            self._own.stop(self._stopped.heard, self._components.voice.rate_hz)

    def _resume_reply(self) -> None:
        """Resume the stopped reply, if there is one, where it was last heard."""
        if self._stopped is not None:
            self._stopped.rewind()
            self._reply, self._stopped = self._stopped, None

    def _remember(self, reply: CascadeReply | None) -> None:
        """End a reply: the history keeps what was heard of it."""
        if reply is None:
            return
        if (message := _heard(reply))["content"]:
            self._history.append(message)
        if reply is self._reply:
            self._reply = None
        else:
            self._stopped = None


def _heard(reply: CascadeReply) -> Message:
    """What was heard of a reply, as a message of the conversation; its content may be empty."""
    return {"role": "assistant", "content": reply.spoken.heard(reply.heard)}
