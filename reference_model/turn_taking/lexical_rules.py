"""Lexical turn-taking rules on a transcript: backchannels, barge-in and stop requests, incomplete sentences. English only."""

from __future__ import annotations

import re

WORD = re.compile(r"[a-z']+")


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


LISTENING = _set(  # backchannels and continuer words
    "ah aha alright exactly good great hm hmm huh i interesting m mhm mm mmm mmhmm nice nope o oh ok okay really right see so "
    "sure true uh uhhuh um wow yeah yep yes yup cool no"
)
OPENING = _set(  # first words of requests to the system
    "are be but can could do does explain give has have help hold how is let's name no please should stop tell that "
    "that's wait was were what what's when where which who who's whose why will would"
)
ASKING = _set("how what what's when where which who who's whose why")  # interrogatives
STOPPING = re.compile(
    r"\b(stop|quiet|shush|shut up|enough|wait|hold on|hang on|never ?mind|that(?:'ll| will) do|one (?:moment|second))\b"
)
POLITE = _set(  # words of a stop request that ask for nothing else
    "a an alright and be can could do enough for hang hold hush i'll it just me mind moment never no now ok okay on one "
    "please quiet right second shush shut so stop talking thank thanks that that's that'll the there up us wait will "
    "would you is"
)
OPEN_WORDS = _set(  # words that do not end a sentence
    "a about an and as at because but by can could did do does for from how i if in is like my of on or say so tell that "
    "the their then there this to uh uhm um was we were what when where which who why will with would your"
)
OPEN_PHRASES = re.compile(
    r"(let me (?:think|see)|(?:wonder|wondering)|(?:tell|ask)(?: you| me)?|(?:like|want|wanted|love) to (?:know|ask)(?: is| was)?"
    r"|a question(?: for you)?|(?:put|say) (?:this|it)|well|okay|you know|i mean|the thing is|and then|oh yes)$"
)

VOCATIVE = re.compile(r"\W*(?:(?:hey|hi|sorry|no|oh|excuse me),?\s+)?([a-z]+),\s", re.IGNORECASE)
NO_NAMES = _set(  # words before a comma that are no names
    "actually again also alternatively anyway er excuse finally first hello hey hi instead listen look next quickly second "
    "sorry thanks then today well yesterday"
)


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(text.lower().replace("-", "").replace("\u2019", "'"))


def claiming(text: str, checks: int) -> bool:
    """Whether a partial transcript is a barge-in request. `checks`: how often it was checked; early words are less certain."""
    spoken = words(text)
    noise = checks == 1 and spoken == ["what"]  # the common recognition error for any short sound
    if not spoken or listening(text) or calling(text) or noise:
        return False
    different = len(set(spoken))  # recognizers repeat words in noise
    return bool(OPENING & set(spoken[:3])) or checks >= (2 if different > 2 else 3)


def listening(text: str) -> bool:
    """Whether the text is a backchannel: one to three continuer words."""
    spoken = words(text)
    return 0 < len(spoken) <= 3 and all(word in LISTENING for word in spoken)


def calling(text: str) -> bool:
    """Whether the text begins with a vocative ("Anna, ...", "Hey Tom, ..."), so that it is addressed to another person."""
    name = VOCATIVE.match(text)
    return name is not None and name[1].lower() not in NO_NAMES | LISTENING | OPENING | OPEN_WORDS | POLITE


def stopping(text: str, misheard: int = 0) -> bool:
    """Whether the text asks for silence alone; in five words or fewer, `misheard` words may be recognition errors."""
    spoken = words(text)
    others = [word for word in spoken if word not in POLITE]
    asked = text.rstrip().endswith("?") or ASKING & set(spoken)
    allowed = misheard if len(spoken) <= 5 and not asked else 0
    return bool(spoken) and bool(STOPPING.search(" ".join(spoken))) and len(others) <= allowed


def unfinished(text: str) -> bool:
    """Whether the sentence is incomplete: broken off, or ending with a word or phrase that needs a continuation."""
    spoken = words(text)
    if not spoken:
        return False
    if text.rstrip().endswith(("..", "\u2026", ",", "-", "\u2013", "\u2014")) or OPEN_PHRASES.search(" ".join(spoken)):
        return True
    return spoken[-1] in OPEN_WORDS and not text.rstrip().endswith("?")  # a question may end with a preposition
