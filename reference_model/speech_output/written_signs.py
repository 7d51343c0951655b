"""Markdown, code, sums and addresses as a person reads them aloud: "2*3" -> "2 times 3", "get_user_id" -> "get underscore ...".

Removed, as they are not said: marks of Markdown and LaTeX, HTML tags, the scheme, query and fragment of a URL and "www.", the
address of a link with a text, notes ("[1]"), the language of a code block, emoji. All other letters and digits are kept.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

Rule = tuple[str, str | Callable[[re.Match[str]], str]]

HTML_TAGS = (
    "a|abbr|b|big|blockquote|body|br|caption|center|cite|code|dd|del|details|div|dl|dt|em|figure|font|footer|h[1-6]|"
    "head|header|hr|html|i|img|ins|kbd|li|main|mark|nav|ol|p|pre|q|s|samp|script|section|small|span|strike|strong|style|"
    "sub|summary|sup|table|tbody|td|tfoot|th|thead|title|tr|tt|u|ul|var|video"
)
ATTRIBUTE = r"""\s+[\w-]+=(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+)"""
LINK_TARGET = r"""\(\s*<?[^()\s]*(?:\([^()\s]*\)[^()\s]*)*>?(?:\s+(?:"[^"\n]*"|'[^'\n]*'))?\s*\)"""
URL = r"(?:(?:https?|ftp)://|(?<![\w.])www\.)[^\s<>|]*[^\s<>|.,;:!?)\]'\"*_]"
EMAIL = r"(?<![\w.+-])[\w.+-]{0,63}\w@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
PATH = r"(?<![\w/:.~-])(?:~|\.{1,2})?/?[\w.-]{1,99}(?:/[\w.-]{1,99}){1,30}/?"
SUM = r"(?<![\w.])\d[\d.]{0,20}(?: ?[-–−+*/×÷] ?\d[\d.]{0,20}){1,20}(?= ?=)"
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
PERIODS = {"mo": "month", "yr": "year", "hr": "hour"}
PERIOD = "second|minute|hour|day|week|month|year|night|person|mo|yr|hr"
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
CURRENCIES = {  # after a number
    "¥": "yen", "₹": "rupees", "₩": "won", "₽": "rubles", "₺": "liras", "₦": "nairas", "₿": "bitcoins", "₫": "dong",
    "₱": "pesos", "₪": "shekels", "₴": "hryvnias", "฿": "baht", "¢": "cents",
}  # fmt: skip
CURRENCY = "".join(CURRENCIES)
LATEX = {
    "times": "×", "cdot": "×", "ast": "×", "div": "÷", "pm": "±", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥",
    "ne": "≠", "neq": "≠", "approx": "≈", "infty": "∞", "to": "→", "rightarrow": "→", "sqrt": "√", "left": "", "right": "",
    "quad": "", "ldots": "", "dots": "", "displaystyle": "", "text": "", "textbf": "", "textit": "", "mathrm": "",
    "mathbf": "", "mathit": "", "boxed": "", "circ": "°",
}  # fmt: skip
SIGNS = {
    "∞": "infinity", "‰": "per mille", "§": "section", "∑": "sum", "∏": "product", "∫": "integral", "∂": "partial",
    "∆": "delta", "∈": "in", "∝": "proportional to", "≡": "equals", "∴": "therefore", "№": "number", "⋅": "times",
}  # fmt: skip

MARKUP: tuple[Rule, ...] = (
    (r"(?![0-9#*]).\ufe0f", " "),  # emoji that are letters or signs without the selector
    (r"([0-9#*])\ufe0f?\u20e3", r" \1 "),
    (r"(?m)^[ \t]*(?:```|~~~)[^\n`]*$|(?:```|~~~)[\w+#-]*[ \t]*(?=\n)", ""),
    (r"<!--.{0,999}?-->", " "),
    (r"<((?:https?://|mailto:)[^<>\s]+|[\w.+-]+@[\w.-]+)>", r"\1"),
    (r"mailto:(?=\S+@)", ""),
    (rf"(?i)</?(?:{HTML_TAGS})(?:{ATTRIBUTE})*\s*/?>", " "),
    (r"(?s)<([A-Za-z][\w-]{0,30})>(.{0,999}?)</\1>", r" \2 "),
    (r"</[A-Za-z][\w-]*>|<(?:unk|s|pad|bos|eos)>|<\|[^<>|\s]*\|>", " "),
    (r"<([A-Za-z][\w.-]*)>", r" \1 "),
    (rf"!?\[([^\[\]]*)\]{LINK_TARGET}", r"\1"),
    (r"(?<![\w\])])\[([^\[\]]+)\]\[[^\[\]]*\]", r"\1"),
    (r"\[\^[\w-]+\]:?|\[[1-9]\d*\]", " "),
    (r"(?m)^([ \t]*[-*+][ \t]+)\[[ xX]\][ \t]+", r"\1"),
    (r"(?m)^[ \t]*(?:=[ \t]*){2,}$|^[ \t]*(?:[-*_][ \t]*){3,}$|^[ \t]*(?:\|[ \t]*)?:?--[-:| \t]*$", ""),
)
LATEX_RULES: tuple[Rule, ...] = (
    (r"\\[()\[\]]|\${2}", " "),
    (r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r" \1/\2 "),
    (r"[\^]\{([^{}]*)\}", r"^\1"),
    (r"(?<=\w)_\{([^{}]*)\}", r" \1"),
    (r"\\([A-Za-z]+)", lambda m: f" {LATEX.get(m[1], m[1])} "),
    (r"\\([*_#`~\[\](){}.!+|>$%&-])", r" "),
)
ADDRESSES: tuple[Rule, ...] = (
    (URL, lambda m: _url(m[0])),
    (EMAIL, lambda m: _email(m[0])),
    (PATH, lambda m: _path(m[0])),
)
EMPHASIS: tuple[Rule, ...] = (
    (r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]*?[^\s*])\1(?![\w*])", r"\2"),
    (r"(?<![\w*])\*([^\W_](?:[^*\n]*\w)?)\*(?=[a-z])", r"\1"),
    (r"(?<=[^\W\d_]{2})\*+([^\W\d_]+)\*+(?=[^\W\d_])", r"\1"),
    (r"~~", ""),
)
CODE: tuple[Rule, ...] = (
    (r"(?<=[^\W_])_+(?=[^\W_])", " underscore "),
    (r"(?<!\w)([A-GJ])#(?!\w)", r"\1 sharp"),
    (r"(?<![\w#&/])#(?=[^\W\d_])", "hashtag "),
    (r"(?<![\w.])\.(?=[A-Za-z])", " dot "),
    (r"(?<=[A-Za-z0-9_])\.(?=[a-z][a-z0-9]+)|(?<=[A-Za-z0-9_]{2})\.(?=[chrs]\b(?!\.))", " dot "),
    (r"\+/-", "±"),
    (r"(?<=[\w)\]\s])!={1,2}(?=[\s\w(])", "≠"),
    (r"<=(?!>)", "≤"),
    (r">=", "≥"),
    (r"<?[-=]{1,2}>|<-{1,2}(?!\d)", "→"),
    (r"(?<![=:<>!])(?:={2,3}|:=)(?!=)", "="),
    (r"&&", " and "),
    (r"(?<=[\w)\]]) \|\| (?=[\w(!])", " or "),
    (r"(?<=\d)~(?=\d)", " to "),
    (r"(?<![\w~])~(?=\d)", "about "),
)
SUMS: tuple[Rule, ...] = (
    (r"(?<=[^\W\d_]{3})[⁰¹⁴-⁹]+", " "),  # a note
    (r"[⁰¹²³⁴-⁹⁺⁻]+", lambda m: f"^{m[0].translate(SUPERSCRIPTS)}"),
    (r"(?<=\d)\s(?=[1-9]/[1-9]\d?(?![\d/]))", " and "),
    (SUM, lambda m: re.sub(r"[-–−]", " minus ", m[0].replace("/", "÷"))),
    (r"(?:(?<=\d)|(?<=\))|(?<=\b[A-Za-z]))\*\*(?=\d|\(|-\d|[A-Za-z]\b)", "^"),
    (r"(?<=[\w)\]])\*(?=[\w(])|(?:(?<=[\d)\]])|(?<=\b\w))[ \t]+\*[ \t]+(?=[\w(])", "×"),
    (r"(?<=\w)[ \t]+\*[ \t]+(?=\d|\w\b|\()", "×"),
    (r"(?<=\w)[ \t]+\*[ \t]+(?=\w)", " asterisk "),
    (r"(?<=\w)\s?[·∙]\s?(?=\w)", "×"),
    (r"\^\s?[-−](?=\w)", " to the power of minus "),
    (r"\^(?=\()", " to the power of "),
    (r"(?<![\w–—-])(?<!\d )[–−](?=\.?\d)", "-"),
    (r"(?<![\w-])[-–−](?=[$£€]\d)", " minus "),
    (r"([$£€])\s?[-–−](?=\d)", r" minus \1"),
    (r"%\s?[-–]\s?(?=\d)", "% to "),
    (r"(?<=\d)[-–](?=[$£€]\d)", " to "),
    (r"(?<=[A-Za-z])(?=[$£€]\d)", " "),
    (rf"([{CURRENCY}])\s?(\d(?:[\d.,]*\d)?)", lambda m: f"{m[2]} {CURRENCIES[m[1]]}"),
    (rf"[{CURRENCY}]", lambda m: f" {CURRENCIES[m[0]]} "),
    (
        r"(?<=\d)[eE]([-−+])(\d{1,3})\b|(?<=\.\d)[eE]()(\d{1,3})\b",
        lambda m: f" times ten to the power of {'minus ' if m[1] in ('-', '−') else ''}{m[2] or m[4]}",
    ),
    (r"(?<=\d) / (?=\d)", " divided by "),
    (r"(?<![\w/.])(\d{1,3})/(\d{1,3})(?![\w/]|\.\d)", lambda m: _fraction(m[1], m[2])),
    (
        rf"(?<![\d.,])(\d[\d.,]{{0,20}}(?:\s?[A-Za-z]{{1,20}})?)\s?/\s?({PERIOD})\b",
        lambda m: f"{m[1]} per {PERIODS.get(m[2], m[2])}",
    ),
    (
        r"\b(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\b(?!-)",
        lambda m: f"{MONTHS[int(m[2]) - 1]} {int(m[3])}, {m[1]}",
    ),
    (r"\b(\d{1,2}:[0-5]\d):([0-5]\d)\b", r"\1 and \2 seconds"),
    (r"(?<![\w:.])(\d{1,3}):(\d)(?![\w:])", r"\1 to \2"),
    (r"(?<![\w.])v?\d+(?:\.\d+){2,8}(?!\.?\w)", lambda m: m[0].replace(".", " point ")),
)
GREEK = re.compile(r"[\u0370-\u03ff]")
FIXED_FRACTIONS = ("24/7", "9/11", "50/50")


def spell_out(text: str) -> str:
    """`text` without markup, and with signs, code names and addresses in words; numbers, units and money stay as they are."""
    text = html.unescape(text)
    for rules in (MARKUP, ADDRESSES, LATEX_RULES, EMPHASIS, CODE, SUMS):
        for pattern, change in rules:
            text = re.sub(pattern, change, text)
    text = "".join(f" {SIGNS[c]} " if c in SIGNS else c for c in text)
    return _with_greek_letters(text)


def is_open(text: str) -> bool:
    """Whether a text cannot be cut at its end: inside a link, or after "St." or "No.", which the next word explains."""
    return bool(re.search(r"\[[^\[\]\n]{0,200}$|\]\([^()\s]*$|\b(?:St|No)\.\s*$", text))


def _url(written: str) -> str:
    """The host and path of a URL, in words."""
    address = re.sub(r"^\w+://|^www\.", "", written).removeprefix("www.")
    address = unquote(re.split(r"[?#]", address)[0]).rstrip("/").rpartition("@")[2]
    host, slash, path = address.partition("/")
    host = host.replace(":", " port ").replace("-", " dash ").replace(".", " dot ")
    path = re.sub(r"[^\w/.]|_", " ", path).replace("/", " slash ").replace(".", " dot ")
    return f" {host}{' slash ' if slash else ''}{path}"


def _email(written: str) -> str:
    for sign, word in {".": "dot", "_": "underscore", "-": "dash", "+": "plus", "@": "at"}.items():
        written = written.replace(sign, f" {word} ")
    return written


def _path(written: str) -> str:
    """A path of files in words; other words with slashes, such as "and/or", stay as they are."""
    if not (written[0] in "/~." or re.search(r"[_.]\w", written)) or not re.search(r"[A-Za-z]", written):
        return written
    return re.sub(r"\.(?=\w)", " dot ", written.lstrip("~.").rstrip("/").replace("/", " slash "))


def _fraction(over: str, under: str) -> str:
    """ "7/8" -> "seven eighths", "120/80" -> "120 over 80"; those that `text_normalizer` knows stay as they are."""
    from reference_model.speech_output.verbalizer import cardinal, ordinal

    top, bottom = int(over), int(under)
    if f"{over}/{under}" in FIXED_FRACTIONS or top == bottom:
        return f"{over} {under}"
    if 1 <= top <= 3 and 2 <= bottom <= 4 and top < bottom and (top, bottom) != (2, 4):
        return f"{over}/{under}"
    if 0 < top < bottom <= 20 and bottom > 2:
        return f"{cardinal(top)} {ordinal(bottom)}{'' if top == 1 else 's'}"
    return f"{over} over {under}"


def _with_greek_letters(text: str) -> str:
    """Single Greek letters by their names, unless the text is Greek; a micro sign before a unit stays."""
    if re.search(r"[\u0370-\u03ff]{2}", text):
        return text
    units = re.compile(r"(?<=\d)\s?[µμ](?=[mgslLFAV]\b)")
    kept = {match.end() - 1 for match in units.finditer(text)}
    return "".join(_greek_name(c) if GREEK.match(c) and i not in kept else c for i, c in enumerate(text))


def _greek_name(letter: str) -> str:
    found = re.search(r"LETTER (\w+)", unicodedata.name(letter, ""))
    return f" {found[1].lower()} " if found else letter
