"""The settings of turn-taking: which detector, which rules, and after how many windows each acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TurnTakingSettings:
    """When the system takes, keeps and gives up the turn. Windows are the voice activity detector's, 32 ms."""

    vad: Literal["silero", "loudness", "none"] = "silero"  # the detector that opens turns; "none": it listens always
    speech_probability: float = 0.5
    onset: int = 3  # windows of speech that open a turn
    release: int = 6  # windows of silence that end a burst of speech
    pre_roll: int = 6  # chunks from before the onset that belong to the turn (published: 6)
    turn_end: Literal["head", "vad", "either"] = "either"  # who says that the user's turn is over
    end: int = 19  # windows of silence that end a turn by rule
    heed: int = 0  # windows of silence before which the state head's verdict is not heeded (published: 0)
    reread: int = 8  # windows of silence after which a second pass, if there is one, reads the turn: it may be over
    barge_in_at: Literal["onset", "end"] = "onset"  # stop a reply once the user really speaks, or once they have ended
    barge_in: int = 8  # windows of speech that are really speech
    # whether loudness, the system's own voice and the recognized words count beside that (`policy`); published: no
    manners: bool = True
    # windows of speech over a reply after which its words are checked
    looks: tuple[int, ...] = (6, 12, 18, 24, 30, 36)
    insist: int = 40  # windows of speech that stop a reply whatever its words are
    unmarked: int = 10  # windows of silence that end a turn of whose words the last bears no mark of a sentence's end
    unfinished: int = 62  # windows of silence that end a turn whose words leave a sentence open
    # ... which they do below this log-probability, by the LLM, of the turn's end as the next token
    complete: float = -13.5
    near_db: float = 5.0  # how much softer than the user what is still the user may be
