"""Units and currencies behind numbers in one form each: "5 km" is `5 kilometers`, "1 lb" `1 pound`, "$0.50" `50 cents`."""

from __future__ import annotations

import re
from collections.abc import Sequence

CURRENCIES = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee", "¢": "cent", "₩": "won", "₽": "ruble"}
ABBREVIATIONS = {
    "km": "kilometer",
    "cm": "centimeter",
    "mm": "millimeter",
    "m": "meter",
    "mi": "mile",
    "ft": "foot",
    "yd": "yard",
    "kg": "kilogram",
    "mg": "milligram",
    "lb": "pound",
    "lbs": "pound",
    "oz": "ounce",
    "ml": "milliliter",
    "kb": "kilobyte",
    "mb": "megabyte",
    "gb": "gigabyte",
    "tb": "terabyte",
    "hz": "hertz",
    "khz": "kilohertz",
    "mhz": "megahertz",
    "ghz": "gigahertz",
    "db": "decibel",
    "kw": "kilowatt",
    "kwh": "kilowatt hour",
    "ms": "millisecond",
    "sec": "second",
    "secs": "second",
    "min": "minute",
    "mins": "minute",
    "hr": "hour",
    "hrs": "hour",
    "yr": "year",
    "yrs": "year",
    "usd": "dollar",
    "eur": "euro",
    "gbp": "pound",
    "mph": "mile per hour",
    "kmh": "kilometer per hour",
    "kph": "kilometer per hour",
    "mps": "meter per second",
    "deg": "degree",
}
SYMBOLS = {"km/h": "kmh", "m/s": "mps", "mi/h": "mph", "ft/s": "foot per second", "°": "degree"}  # as they are written
SAME_IN_PLURAL = ("hertz", "kilohertz", "megahertz", "gigahertz", "yen", "won")
NOUNS = {noun.split()[0] for noun in (*ABBREVIATIONS.values(), *CURRENCIES.values())} | {"inch", "day", "week", "month"}
PLURALS = {noun: noun if noun in SAME_IN_PLURAL else f"{noun}s" for noun in NOUNS} | {"foot": "feet", "inch": "inches"}
SINGULARS = {plural: noun for noun, plural in PLURALS.items()}
MEASURES = {*ABBREVIATIONS, *CURRENCIES, *PLURALS, *SINGULARS, "percent"}  # a minus behind these is an operator
NUMBER = re.compile(r"-?[0-9][0-9./]*")
FIRST_SIGNS = tuple("-0123456789")  # of a number
AND_CENTS = re.compile(r"(?<!\S)(-?[0-9]+) (dollars?|euros?|pounds?) (?:and )?([0-9]{1,2}) (?:cents?|pence)(?!\S)")
CENTS = re.compile(r"(?<!\S)(-?)0\.([0-9]{1,2}) (?:dollar|euro)s(?!\S)")


def unify_units(tokens: Sequence[str]) -> list[str]:
    """The tokens with units behind numbers in full, in the singular behind 1 and in the plural behind other numbers."""
    out: list[str] = []
    for token in tokens:
        number = out[-1] if out and is_number(out[-1]) else ""
        if number:
            noun, *rest = ABBREVIATIONS.get(token, SINGULARS.get(token, token)).split()
            out += [noun if number in ("1", "-1") else PLURALS.get(noun, noun), *rest]
        elif token in ("c", "f") and out and out[-1] in ("degree", "degrees"):
            out.append({"c": "celsius", "f": "fahrenheit"}[token])
        elif token in ("am", "pm") and out and out[-1] == "oclock":
            out[-1] = token
        elif (
            token == "m"
            and out
            and out[-1] in ("a", "p")
            and (out[-2:-1] == ["oclock"] or is_number("".join(out[-2:-1])))
        ):
            out[-1] += token  # "seven p m"
        else:
            out.append(token)
    text = AND_CENTS.sub(_with_cents, " ".join(out))
    return CENTS.sub(_only_cents, text).split()


def is_number(token: str) -> bool:
    """Whether a canonical token is a number that counts something: no ordinal, no decade."""
    return token[:1] in FIRST_SIGNS and NUMBER.fullmatch(token) is not None


def _with_cents(match: re.Match[str]) -> str:
    """ "2 dollars and 50 cents" as "2.5 dollars"."""
    amount = f"{match[1]}.{int(match[3]):02d}".rstrip("0").rstrip(".")
    noun = SINGULARS.get(match[2], match[2])
    return f"{amount} {noun if amount in ('1', '-1') else PLURALS[noun]}"


def _only_cents(match: re.Match[str]) -> str:
    """ "0.5 dollars" as "50 cents"."""
    cents = int(f"{match[2]:0<2}")
    return f"{match[1]}{cents} {'cent' if cents == 1 else 'cents'}"
