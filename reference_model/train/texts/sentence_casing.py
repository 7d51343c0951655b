"""Texts as sentences, with capitals for names and a mark at the end; how they are spelt out is `reference_model.speech_output.verbalizer`'s."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from reference_model.speech_output.verbalizer import cardinal, is_speakable, ordinal, spelt, year

__all__ = ["capitals", "cardinal", "is_speakable", "ordinal", "sentence", "spelt", "year"]

LONGEST_NAME = 4  # words


def capitals(texts: Iterable[str]) -> dict[str, str]:
    """{lower-case word: its form} of the words that stand with a capital, in mid-sentence, more often than without."""
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for sentence in re.split(r"(?<=[.?!:])\s+", text):
            for word in re.findall(r"[A-Za-z][A-Za-z']*", sentence)[1:]:
                forms[word.lower()][word] += 1
    best = {word: counts.most_common(1)[0][0] for word, counts in forms.items()}
    return {word: form for word, form in best.items() if form != word} | {"i": "I", "i'm": "I'm", "i'll": "I'll"}


def sentence(text: str, names: Mapping[str, str], end: str = ".") -> str:
    """A sentence with names, its first letter and the English "I" in capitals, and a mark at its end.

    `names`: {lower-case word, or words with single spaces: its form}; used only where the text has no capital of its own.
    """
    if text == text.lower():
        text = " ".join(_named(text.split(), names))
    text = re.sub(r"([.?!])[.?!,]+", r"\1", text.strip(" ,;:-"))
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else end)


def _named(parts: list[str], names: Mapping[str, str]) -> Iterator[str]:
    """The words of a lower-case text; the longest name first."""
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
