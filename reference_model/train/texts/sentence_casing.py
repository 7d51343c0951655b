"""Sentence case: capitals for names and a final mark. Re-exports the verbalizer's functions for texts."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from reference_model.speech_output.verbalizer import cardinal, is_speakable, ordinal, verbalize, year

__all__ = ["capitals", "cardinal", "is_speakable", "ordinal", "sentence", "verbalize", "year"]

LONGEST_NAME = 4  # words


def capitals(texts: Iterable[str]) -> dict[str, str]:
    """Returns {lower-case word: cased form} of the words that are mostly capitalized in mid-sentence."""
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for sentence in re.split(r"(?<=[.?!:])\s+", text):
            for word in re.findall(r"[A-Za-z][A-Za-z']*", sentence)[1:]:
                forms[word.lower()][word] += 1
    best = {word: counts.most_common(1)[0][0] for word, counts in forms.items()}
    return {word: form for word, form in best.items() if form != word} | {"i": "I", "i'm": "I'm", "i'll": "I'll"}


def sentence(text: str, names: Mapping[str, str], end: str = ".") -> str:
    """Returns a sentence with capitalized names, first letter and "I", and a mark at its end.

    `names`: {lower-case words: cased form}; used only where the text is all lower case.
    """
    if text == text.lower():
        text = " ".join(_named(text.split(), names))
    text = re.sub(r"([.?!])[.?!,]+", r"\1", text.strip(" ,;:-"))
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else end)


def _named(parts: list[str], names: Mapping[str, str]) -> Iterator[str]:
    """Yields the words of a lower-case text with names cased; the longest match wins."""
    at = 0
    while at < len(parts):
        for length in range(min(LONGEST_NAME, len(parts) - at), 0, -1):
            words = re.fullmatch(r"(.*?)('s)?([.,?!;:]*)", " ".join(parts[at : at + length]))
            if words and (form := names.get(words[1])):
                yield form + (words[2] or "") + words[3]
                break
        else:
            yield parts[at]
        at += length
