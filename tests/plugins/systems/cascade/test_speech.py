"""What the cascade speaks of what its language model writes: no thoughts, in packets, cut where the player runs empty."""

from dataclasses import replace

import numpy as np
import pytest

from fobench.api.types import AudioChunk, EventKind
from tests.plugins.systems.cascade.listener import MS, RATE, TIMING, WORDS, Counter, Drone, Listener, quiet, say


class Reasoner(Counter):
    """Thinks first, its tags cut over tokens; `opened`: its prompt ends with the opening tag."""

    def __init__(self, opened=False):
        super().__init__()
        self.opened = opened

    def detokenizer(self):
        return Characters()

    def chat(self, messages):
        return [ord(c) for c in "Answer: <think>\n" if self.opened or c != "<"]

    def stream(self, messages, *, max_tokens, seed, temperature=0.0):
        opening = [] if self.opened else ["<th", "ink>"]
        yield from [*opening, "Is it ", "London? No, no.", "</thi", "nk>", "It is ", "Paris, of course."]


class Characters:
    def push(self, token):
        return chr(token)

    def flush(self):
        return ""


@pytest.mark.parametrize("opened", [False, True])
def test_thoughts_are_written_and_not_spoken(opened):
    listener = Listener(mind=Reasoner(opened)).hear(say("Tell me about the sea.", 1000), quiet(3000))
    assert listener.voiced() == "It is Paris, of course."
    written = "".join(event.data["text"] for _, event in listener.events if event.kind is EventKind.TOKEN)
    assert written == "<think>Is it London? No, no.</think>It is Paris, of course."
    assert listener.system.answer([{"role": "user", "content": "Where?"}], 0) == written


class Talker(Counter):
    """One long sentence, a word a token, after a short one."""

    def stream(self, messages, *, max_tokens, seed, temperature=0.0):
        yield from ["Yes, it is. ", *[f"{word} and " for word in WORDS], "so on. "]


class InPackets(Drone):
    """The voice, 200 ms at a time."""

    def __init__(self):
        self.made = 0

    def stream(self, text, seed):
        audio = self.speak(text, seed).samples
        for start in range(0, len(audio), 200 * MS):
            self.made += 1
            yield AudioChunk(audio[start : start + 200 * MS], RATE)


def steps(reply_played):
    """The work and the audio of a talker's reply, of which all audio is played at once, or none."""
    listener = Listener(mind=Talker(), timing=replace(TIMING, speculate=False))
    components = listener.system.components
    components.voice = InPackets()
    listener.hear(say("Tell me about the sea.", 1000), quiet(500))
    pushed = listener.session.push(AudioChunk(np.tile(quiet(32), 5), RATE))
    found = []
    for event in pushed:
        found.append(event)
        if reply_played and event.kind is EventKind.AUDIO:
            listener.session.heard(0, listener.session._reply.spoken.samples)
    return [event for event in found if event.kind in (EventKind.TOKEN, EventKind.AUDIO)]


def test_audio_comes_in_packets_each_a_step_of_its_own():
    audio = [event.data for event in steps(False) if event.kind is EventKind.AUDIO]
    assert {len(data["audio"].samples) for data in audio} == {200 * MS}
    texts = [data["text"] for data in audio]
    assert texts[:4] == ["Yes, it is. ", "", "", "word-a and word-b and word-c "]
    assert "".join(texts) == "Yes, it is. " + "".join(f"{word} and " for word in WORDS) + "so on. "


def test_a_sentence_is_cut_only_if_the_player_runs_empty():
    clauses = [
        [e.data["text"] for e in steps(played) if e.data.get("audio") and e.data["text"]] for played in (True, False)
    ]
    assert len(clauses[0]) > len(clauses[1])
    assert "".join(clauses[0]) == "".join(clauses[1])
