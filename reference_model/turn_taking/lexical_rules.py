"""What a turn's words say about whose turn it is: rules on a transcript, where no trained head decides.

English, and deliberately small: what listeners say while they listen, how talkers are stopped, how sentences stay open.
"""

from __future__ import annotations

import re

WORD = re.compile(r"[a-z']+")


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


LISTENING = _set(
    "ah aha alright exactly good great hm hmm huh i interesting m mhm mm mmm mmhmm nice nope o oh ok okay really right see so "
    "sure true uh uhhuh um wow yeah yep yes yup cool no"
)  # said to go on listening
OPENING = _set(
    "are be but can could do does explain give has have help hold how is let's name no please should stop tell that "
    "that's wait was were what what's when where which who who's whose why will would"
)  # begins what is meant for the system
ASKING = _set("how what what's when where which who who's whose why")
STOPPING = re.compile(
    r"\b(stop|quiet|shush|shut up|enough|wait|hold on|hang on|never ?mind|that(?:'ll| will) do|one (?:moment|second))\b"
)
POLITE = _set(
    "a an alright and be can could do enough for hang hold hush i'll it just me mind moment never no now ok okay on one "
    "please quiet right second shush shut so stop talking thank thanks that that's that'll the there up us wait will "
    "would you is"
)  # words beside it that ask for nothing else
OPEN_WORDS = _set(
    "a about an and as at because but by can could did do does for from how i if in is like my of on or say so tell that "
    "the their then there this to uh uhm um was we were what when where which who why will with would your"
)  # a sentence does not end with these
OPEN_PHRASES = re.compile(
    r"(let me (?:think|see)|(?:wonder|wondering)|(?:tell|ask)(?: you| me)?|(?:like|want|wanted|love) to (?:know|ask)(?: is| was)?"
    r"|a question(?: for you)?|(?:put|say) (?:this|it)|well|okay|you know|i mean|the thing is|and then|oh yes)$"
)

CALLED = re.compile(r"\W*(?:(?:hey|hi|sorry|no|oh|excuse me),?\s+)?([a-z]+),\s", re.IGNORECASE)
NO_NAMES = _set(
    "actually again also alternatively anyway er excuse finally first hello hey hi instead listen look next quickly second "
    "sorry thanks then today well yesterday"
)  # words that stand before a comma and call nobody


def words(text: str) -> list[str]:
    return WORD.findall(text.lower().replace("-", "").replace("\u2019", "'"))


def claiming(text: str, looks: int) -> bool:
    """Whether words still being said claim the floor. Little of them is known at the first look, and little is believed."""
    said = words(text)
    if (
        not said or listening(text) or calling(text) or (looks == 1 and said == ["what"])
    ):  # which any short sound is heard as
        return False
    different = len(set(said))  # a recogniser repeats itself where it is at a loss
    return bool(OPENING & set(said[:3])) or looks >= (2 if different > 2 else 3)


def listening(text: str) -> bool:
    """Whether the words are a backchannel: up to three, all of the kind that keeps a talker going."""
    said = words(text)
    return 0 < len(said) <= 3 and all(word in LISTENING for word in said)


def calling(text: str) -> bool:
    """Whether the words begin by calling somebody: "Anna, ...", "Hey Tom, ...". Over a reply, that is somebody else."""
    called = CALLED.match(text)
    return bool(called) and called[1].lower() not in NO_NAMES | LISTENING | OPENING | OPEN_WORDS | POLITE


def stopping(text: str, misheard: int = 0) -> bool:
    """Whether the words ask for silence and for nothing else; of five words or less, so many may be misheard."""
    said = words(text)
    others = [word for word in said if word not in POLITE]
    asked = text.rstrip().endswith("?") or ASKING & set(said)
    allowed = misheard if len(said) <= 5 and not asked else 0
    return bool(said) and bool(STOPPING.search(" ".join(said))) and len(others) <= allowed


def unfinished(text: str) -> bool:
    """Whether the words leave a sentence open: broken off, ending with a word or phrase that something follows."""
    said = words(text)
    if not said:
        return False
    if text.rstrip().endswith(("..", "\u2026", ",", "-", "\u2013", "\u2014")) or OPEN_PHRASES.search(" ".join(said)):
        return True
    return said[-1] in OPEN_WORDS and not text.rstrip().endswith("?")  # a question may end with its preposition
