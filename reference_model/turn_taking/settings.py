"""The settings of turn-taking: the detector, the rules, and the durations after which each acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TurnTakingSettings:
    """When the system takes, keeps and yields the turn. Durations are in windows of the voice activity detector, 32 ms each."""

    vad: Literal["silero", "loudness", "none"] = "silero"  # the detector that opens turns; "none": all audio is a turn
    speech_probability: float = 0.5  # the detector's threshold
    onset: int = 3  # windows of speech that open a turn
    release: int = 6  # windows of silence that end a burst of speech
    pre_roll: int = 6  # encoder chunks from before the onset that belong to the turn (published: 6)
    turn_end: Literal["head", "vad", "either"] = "either"  # what detects the end of turn: state head, silence, either
    end: int = 19  # end-of-turn timeout: windows of silence that end a turn by rule
    heed: int = 0  # minimum silence, windows, before a prediction of the state head is accepted (published: 0)
    reread: int = 8  # windows of silence after which the second pass, if any, recognizes the turn, and a reply is begun
    barge_in_at: Literal["onset", "end"] = "onset"  # whether a reply stops during the user's speech, or after it
    barge_in: int = 8  # minimum barge-in duration, windows of speech (where no words are known)
    manners: bool = True  # whether the rules on loudness, echo and words apply (`policy`); published: no
    # partial-hypothesis checks: windows of speech over a reply after which its words are checked
    looks: tuple[int, ...] = (6, 12, 18, 24, 30, 36)
    insist: int = 40  # forced barge-in: windows of speech that stop a reply whatever the words are
    unmarked: int = 10  # windows of silence that end a turn whose transcript has no final punctuation
    unfinished: int = 62  # windows of silence that end a turn whose transcript is an incomplete sentence
    complete: float = -13.5  # end-of-turn log-probability (LLM, next token) below which a sentence counts as incomplete
    near_db: float = (
        5.0  # near-field margin, dB: how much softer than the user a talker may be and still count as the user
    )
