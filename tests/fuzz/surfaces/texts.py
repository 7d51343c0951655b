"""Texts: the normalizers, choices, what is spoken, gates, lists of names, and options of every shipped component."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

from fobench.errors import FobenchError
from tests.fuzz.case import Case, Expected, Nonsense, Surface
from tests.fuzz.mutations import ODD_NUMBERS, ODD_TEXTS, odd_text

WORDS = (
    "five", "twenty-one", "one hundred and two", "3.14", "1,000", "$42", "50%", "7 o'clock", "minus five", "half", "XIV", "U.S.A.", "&",
    "and", "point", "oh", "zero", "nineteen eighty four", "1st", "twenty second", "(B)", "**A**", "B.", "A or B", "the answer is C", "<think>",
    "</think>", "don't", "it’s", "C#", "2+2=4", "http://a.b/c?d=e", "北京", "हिन्दी", "Ünïcödé", "e.g.", "a.m.", "dollars", "million", "º", "½", "x²",
    "```py\nprint(1)\n```", "| a | b |", "# head", "- item", "7/8", "1e9", "−5", "–", "…", "Dr.", "St.", "10:30",
)  # fmt: skip
CHOICES = ("Paris", "London", "New York", "Rome")
METRICS = {
    "response_ms.p90": ("ms", "lower"),
    "parity_s2s": ("ratio", "higher"),
    "understanding_wer": ("share", "lower"),
}


def _text(rng: Random) -> str:
    if rng.random() < 0.03:  # long: time must not grow faster than the text
        return rng.choice((*WORDS, "<", "((", "one ", "9", "a.")) * rng.choice((1000, 5000))
    return odd_text(rng, WORDS)


def normalizer(rng: Random, folder: Path) -> Case:
    from fobench.scoring import text_normalization

    text = _text(rng)

    def read() -> None:
        made = text_normalization.normalize(text)
        if not isinstance(made, str) or made != text_normalization.normalize(text):
            raise Nonsense(f"{made!r:.200}")
        if text.isascii() and text.isalpha() and text.islower() and len(text) < 4 and not made:
            raise Nonsense(f"{text!r} became nothing")

    return Case(read, repr(text)[:80], "accepted", {"text.txt": text.encode("utf-8", "surrogatepass")})


def choice(rng: Random, folder: Path) -> Case:
    from fobench.scoring import answer_matching, choice_parsing

    text = _text(rng)
    options = rng.sample(CHOICES, rng.randint(0, 4)) + [odd_text(rng)] * rng.randrange(2)

    def read() -> None:
        found = choice_parsing.parse_choice(text, options)
        if found is not None and not 0 <= found < len(options):
            raise Nonsense(f"choice {found} of {len(options)}")
        answer_matching.contains(text, options)
        choice_parsing.right_choices([text[:50]], options)

    return Case(read, repr(text)[:80], "accepted", {"text.txt": text.encode("utf-8", "surrogatepass")})


def spoken(rng: Random, folder: Path) -> Case:
    from fobench_plugins.systems.cascade import clause_splitter
    from fobench_plugins.voices import text_chunks

    text = _text(rng)

    def read() -> None:
        made = text_chunks.speakable(clause_splitter.speakable(text))
        if any(mark in made for mark in ("\0", "\x1b", "[[")):
            raise Nonsense(f"would be spoken: {made!r:.200}")
        parts = text_chunks.split_text(text_chunks.speakable(text))
        if any(len(part) > text_chunks.MAX_CHARACTERS for part in parts):
            raise Nonsense("a part is too long for a voice")

    return Case(read, repr(text)[:80], "accepted", {"text.txt": text.encode("utf-8", "surrogatepass")})


def gate(rng: Random, folder: Path) -> Case:
    from fobench.comparison.gates import Gate

    limit = rng.choice((*map(str, ODD_NUMBERS), *ODD_TEXTS, "10", "-2", "+0.5", "0", "1e999", "nan", "1" * 500, "٣"))
    unit = rng.choice(("%", "pp", "ms", "", "s", odd_text(rng)[:10]))
    name = rng.choice((*METRICS, "parity", "accuracy", "response_ms", "", "respons_ms", odd_text(rng)))
    text = rng.choice((f"{name}:{limit}{unit}", f"{name}:{limit}{unit}", f"{name}{limit}", odd_text(rng)))
    expected: Expected = "refused" if limit in ("0", "1e999", "nan", "") or name in ("", "respons_ms") else "either"

    def read() -> None:
        found = Gate.parse(text).resolve(METRICS)
        if not 0 < found.limit < math.inf or found.figure not in METRICS:
            raise Nonsense(f"{found}")

    return Case(read, text[:80], expected, {"gate.txt": text.encode("utf-8", "surrogatepass")})


def options(rng: Random, folder: Path) -> Case:
    """An option of a shipped component; nothing is created but scripted systems and controls, which load no model."""
    from fobench.api import registry

    kind = rng.choice(
        ("systems", "systems", "systems", "suites", "backbones", "recognizers", "voices", "codecs", "metrics")
    )
    name = rng.choice(list(registry.factories(kind)))
    factory = registry.factories(kind)[name]
    types = registry.option_types(factory, skip=name.endswith(":"))
    key = rng.choice([*types, "zz", ""]) if types else "zz"
    value = rng.choice(
        (*map(str, ODD_NUMBERS), *ODD_TEXTS, "999999999", "-1", "nan", "inf", "1e10", "9" * 5000, "true", "none")
    )
    wrong = "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value) or key not in types
    whole = name + "x" if name.endswith(":") else name

    def read() -> None:
        spec = registry.spec(kind, whole, {key: value})
        for number in spec.options.values():
            if isinstance(number, float) and not math.isfinite(number):
                raise Nonsense(f"{key} is {number}")
        if whole.startswith("scripted:") and key not in ("says", "voice"):
            registry.create(spec)
        if whole == "controls":
            next(registry.create(spec).scenarios(0))

    about = f"{kind} {whole}: {key}={value!r:.40}"
    return Case(
        read, about, "refused" if wrong else "either", {"option.txt": f"{key}={value}".encode("utf-8", "surrogatepass")}
    )


def names(rng: Random, folder: Path) -> Case:
    from fobench.api.option_strings import check_owners, options_for, split_names

    text = rng.choice((odd_text(rng), "a,b", "a,,b", ",", "a,a", " a , b "))
    key = rng.choice((text, f"{text}:x", ":", "::", "a:b:c"))

    def read() -> None:
        found = split_names("--backbone", text)
        options_for({key: "1"}, text)
        check_owners("suite", "--suite-args", {key: "1"}, found)

    return Case(read, repr(text)[:80], "refused" if text == "a,a" else "either")


def component_name(rng: Random, folder: Path) -> Case:
    from fobench.api import registry

    kind = rng.choice((*registry.KINDS, odd_text(rng)))
    name = rng.choice((odd_text(rng), "manifest:", "hub:", ":", "scripted:", "scripted:lat", "hf:", "manifest:x\0y"))

    def read() -> None:
        try:
            registry.find(kind, name)
        except FobenchError as error:
            if "Traceback" in str(error):
                raise Nonsense(str(error)) from error
            raise

    return Case(read, f"{kind!r:.40} {name!r:.40}")


SURFACES = (
    Surface("normalizer", normalizer, weight=12),
    Surface("choice", choice, weight=10),
    Surface("spoken", spoken, weight=10),
    Surface("gate", gate),
    Surface("option", options, weight=12, limit_s=30),
    Surface("names", names, weight=6),
    Surface("component-name", component_name, weight=6),
)
