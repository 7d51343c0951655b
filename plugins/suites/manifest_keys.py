"""Keys of a manifest's entries and turns: their types, other words for them, and the known key that an unknown one resembles."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from fobench.api.typed import shown
from fobench.errors import FobenchError

AUDIO_KEYS = ("audio", "path", "audio_filepath")  # the second as in many lists of files, the third as in NeMo
KEY_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys((*AUDIO_KEYS, "say", "noise", "text", "question", "role", "family", "voice"), (str,)),
    **dict.fromkeys(("id", "speaker"), (str, int)),
    **dict.fromkeys(("answers", "answer", "choices", "assert"), (str, list)),
    "expect": (str,),
    **dict.fromkeys(("max_stop_ms", "max_response_ms"), (int, float)),
    **dict.fromkeys(("start_s", "end_s", "length_s", "level_db", "snr_db", "patience_s"), (int, float)),
    "tags": (dict,),
    "turns": (list,),
    "anchor": (dict,),
}
ENTRY_KEYS = ("id", "answers", "answer", "choices", "family", "tags", "patience_s", "turns", "assert")
TURN_KEYS = tuple(key for key in KEY_TYPES if key not in ENTRY_KEYS)
ANCHOR_KEYS = ("event", "delay_s", "or_after_s")
SAME = (AUDIO_KEYS, ("text", "question"), ("answers", "answer"))  # keys of the same meaning
SYNONYMS = {  # other words for keys, as other tools write them
    **dict.fromkeys(
        ("file", "filename", "filepath", "wav", "clip", "recording", "sound", "audiopath", "audiofile"), "audio"
    ),
    **dict.fromkeys(("transcript", "transcription", "sentence", "prompt", "query", "reference"), "text"),
    **dict.fromkeys(("expected", "target", "label", "gold", "solution", "accepted", "aliases", "correct"), "answers"),
    **dict.fromkeys(("options", "alternatives", "candidates"), "choices"),
    **dict.fromkeys(("timeout", "wait"), "patience_s"),
    **dict.fromkeys(("begin", "onset"), "start_s"),
    "finish": "end_s",
    **dict.fromkeys(("gain", "volume", "loudness"), "level_db"),
    **dict.fromkeys(("conversation", "dialogue", "messages"), "turns"),
}
METADATA = (  # known not to be used
    *("duration", "dur", "lang", "language", "comment", "note", "notes"),
    *("kind", "split", "source", "category", "dataset", "subset", "gender", "accent"),  # of training sets
)
UNLIKE = ("uid", "idx", *(f"{key}_{of}" for key in KEY_TYPES for of in ("id", "idx", "type")))  # that resemble none


def check_keys(data: Mapping[str, Any], known: Sequence[str], place: str = "") -> set[str]:
    """The keys without a meaning. Raises `FobenchError` for a key of the wrong type or level, and for an unknown key that
    resembles or means a known one which is missing.
    """
    unused = set()
    for key, value in data.items():
        if key in known:
            if not isinstance(value, KEY_TYPES[key]) or isinstance(value, bool):
                kinds = " or ".join(kind.__name__ for kind in KEY_TYPES[key])
                raise FobenchError(f"{place}{key!r} must be {kinds}, not {shown(value)}")
        elif key in KEY_TYPES:
            level = "beside 'turns', not in a turn" if place else "in a turn, not beside 'turns'"
            raise FobenchError(f"{place}{key!r} belongs {level}")
        elif (
            (close := similar_key(key, known))
            and not any(other in data for other in _same(close))
            and not (KEY_TYPES[close] == (int, float) and _has_no_digit(value))
        ):
            raise FobenchError(f"{place}unknown key {key!r}, did you mean {close!r}?")
        elif key not in METADATA and key != "offset" and not key.startswith("_"):
            unused.add(key)
    return unused


def _has_no_digit(value: Any) -> bool:
    """Whether a value is a text that is no number, such as a level "easy"."""
    return isinstance(value, str) and not any(map(str.isdigit, value))


def _same(key: str) -> tuple[str, ...]:
    return next((keys for keys in SAME if key in keys), (key,))


def similar_key(key: str, known: Sequence[str]) -> str:
    """The known key that a key resembles, whatever its case and separators, or means; "" if there is none."""
    if key in METADATA or key in UNLIKE:
        return ""
    plain = {_letters(name.removesuffix(unit)): name for unit in ("_s", "_db", "") for name in reversed(known)}
    letters = _letters(key)
    if (word := SYNONYMS.get(letters)) in known:
        return str(word)
    swapped = [name for name in plain if sorted(name) == sorted(letters)]
    close = swapped or difflib.get_close_matches(letters, plain, n=1, cutoff=0.75)
    return plain[close[0]] if close else ""


def _letters(key: str) -> str:
    return "".join(filter(str.isalnum, key.lower()))


def unknown_choice(what: str, name: Any, choices: tuple[str, ...]) -> str:
    close_keys = difflib.get_close_matches(str(name), choices, n=1)
    hint = f", did you mean {close_keys[0]!r}?" if close_keys else ""
    return f"unknown {what} {name!r}{hint} (choices: {', '.join(choices)})"
