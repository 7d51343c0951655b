"""Multiple choice: which choice a reply selects, and which are right."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fobench.scoring.answer_matching import contains, normalize_answer
from fobench.scoring.unicode_text import INVISIBLE

# ---- Words around a label ------------------------------------------------------------------------------------------------

FILLERS = (
    r"(?:(?:option|choice|letter|number|the|either|both|clearly|definitely|certainly|probably|likely|most likely|"
    r"indeed|actually|simply|just|therefore|thus|still|obviously|surely|and|that|it|is|be|with|for|to|choose|pick|"
    r"select|go|answer|of course|absolutely|I think|I believe|I guess|I'd say|in my opinion|in my view)\b[\s:,]*)*"
)
NOT = r"(?:\b(?:not|never|neither|nor|except|without|than|excluding|unlike)|n['’]t|\binstead of|\brule[sd]? out|\bruling out"
NOT += r"|\b(?:exclud|eliminat|reject|discard|dismiss)(?:e|ed|es|s|ing)?)"
NEGATED_BEFORE = re.compile(rf"{NOT}[\s:]+{FILLERS}$", re.IGNORECASE)
DISBELIEVED = re.compile(
    r"(?:\bnot|n['’]t|\bnever)\s+(?:think|believe|say|feel|agree)\b[^.!?;,\n]*$|\bdoubt\b[^.!?;,\n]*$", re.I
)
HEDGED = r"could be|may be|might be|can be|seems(?: to be)?|looks|appears(?: to be)?"
COPULA = rf"(?:is|was|are|['’]s|must be|should be|would be|will be|has to be|can only be|{HEDGED}|=|:)"
NEGATED_AFTER = re.compile(
    rf"[)\]}}.:]?\s*(?:{COPULA}\s+|(?:is|was|does|do|ca|could|would)(?=n['’]t))(?:{FILLERS})"
    r"(?:not\b|n['’]t\b|never\b|incorrect|wrong|false|out\b|unlikely|impossible)",
    re.IGNORECASE,
)
HEDGE = re.compile(rf"\b(?:{HEDGED})\b", re.IGNORECASE)
DISCUSSED = re.compile(
    r"[)\]}]?\s+(?:is|was|are|were|has|had|says|said|refers|describes|means|mentions|states|does|can|cannot)\b([^.!?\n]*)",
    re.I,
)
DOUBTED = re.compile(r"[)\]}]?\s?\?\W*(?:no|nope|not|hm+|wait|actually|or|well|maybe|I don['’]t|I['’]m not)\b", re.I)
DOUBTED_GROUP = re.compile(r"[)\]}]?\s?\?\W*\w")  # "C or D? D."
VERDICT = re.compile(r"\b(?:correct|right|true|best|answer|choice|pick|guess|likely|accurate|appropriate|what)\b", re.I)
FINAL = re.compile(
    r"\b(?:so|therefore|thus|hence|final|finally|overall|consequently|ultimately|accordingly|in conclusion|in summary|"
    r"to conclude|in the end)\b[^.!?\n]*$",
    re.IGNORECASE,
)
STATEMENT = re.compile(
    r"(?:\b(?:answer|solution)(?:\s+(?:choice|option|letter))?|"
    r"\b(?:correct|right|best|final|true|my)\s+(?:one|option|choice|letter|pick|selection|guess))"
    rf"(?:,[^,.!?\n]{{1,30}},)?(?:\s*(?:{COPULA}|\s[-–—]\s)|(?:\s+(?:is|was))(?=n['’]t))"
    r"|\b(?:choose|chose|pick|picked|select|selected|go with|going with|opt for|vote for|settle on)(?=\W)",
    re.IGNORECASE,
)
SUBJECT = re.compile(  # after a label: "B is correct", "B is the right answer", "B would be my choice"
    rf"[)\]}}]?\s+{COPULA}\s+(?:clearly |definitely |probably |likely |indeed |also )?(?:the |my |our )?(?:only |most |more )?"
    r"(?:correct|right|best|better|true|accurate|answer|choice|pick|appropriate|plausible|likely|fitting|suitable|"
    r"one(?=\s*(?:[.,;!]|$)))|\s+(?:it )?is(?=\s*(?:[.,;!]|$))",
    re.IGNORECASE,
)
CUE = re.compile(  # before a label that is not stated as the answer
    r"(?:\b(?:option|choice|letter|think|believe|guess|say|so|therefore|thus|hence|probably|definitely|maybe|perhaps|"
    r"likely|surely|certainly|clearly|obviously|yes|then|it is|that is|(?:must|would|should|has to|got to|can only) be|"
    r"(?:not|n['’]t)\b[^.!?\n]{1,40}\bbut(?: rather| instead)?)|\b(?:it|that)['’]s|(?:^|[.!?\n:;])|"
    rf"\b(?:well|sure|okay|yes|of course|absolutely|certainly|right|hm+|um+|uh+),)\s*{FILLERS}$",
    re.IGNORECASE,
)
AFTER_A = re.compile(  # what may follow the label A in a sentence; all else follows the article
    r"\s*(?:$|[.,;:!?)\]}/&=\n–—]|-\s)|\s+(?:is|was|isn['’]t|because|since|as|or|and|nor|but|which|would|must|seems|looks|for|"
    r"due|with|being|here|then|if)\b",
    re.IGNORECASE,
)

MAX_CHARACTERS = 4_000  # of a longer reply the end is parsed, where the final answer stands
CONTEXT = 200  # characters around a label that are looked at

# ---- Labels --------------------------------------------------------------------------------------------------------------

BRACKETED = r"(?<!\w)[(\[{]\s*([A-Za-z])\s*[)\]}](?!\w)"
CAPITAL = r"(?<![\w'’.&-])([A-Z])(?![\w'’#+]|\.[A-Za-z]\b|-\w|&\w)"
SMALL = r"(?<![\w'’.&/-])([a-z])(?=\s*(?:[.,;:!?)\]]|$))(?!\.[A-Za-z]\b)"
NAMED_SMALL = r"(?:(?<=\b[oO]ption )|(?<=\b[cC]hoice )|(?<=\b[lL]etter ))([b-z])(?![\w'’])"  # "option c here"
LABEL = re.compile(rf"{BRACKETED}|{CAPITAL}|{SMALL}|{NAMED_SMALL}", re.MULTILINE)
JOINED = re.compile(
    r"\s*(?:,|/|&|,?\s*\b(?:or|and|nor)\b)\s*(?:(?:maybe|perhaps|possibly|even|option|choice|letter)\s+)*",
    re.IGNORECASE,
)
LEADING = re.compile(r"(?:^|\n)\s*(?:(?:option|choice|answer)\s+)?$", re.IGNORECASE)
DELIMITER = re.compile(r"\s*[.):]|\s*\]|\s+[-–—]\s")
QUOTES = "*_`\"'“”‘’"
MARKED = re.compile(rf"(?<!\w)[{QUOTES}]{{1,4}} ?[(\[]? ?([A-Z]) ?[)\].:]{{0,2}} ?[{QUOTES}]{{1,4}}(?!\w)")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
ORDINAL = re.compile(
    rf"\bthe ({'|'.join(ORDINALS)}|last) (?:option|choice|answer|one(?=\s*(?:[.,;!?]|$)))", re.IGNORECASE
)
POLAR = {"yes", "no", "true", "false"}  # of such choices the first word of a reply is one: "Yes, there is no doubt."
CARDINALS = ("one", "two", "three", "four", "five", "six")
NUMBERED = re.compile(
    rf"\b(?:option|choice) (?:number )?([1-6]|{'|'.join(CARDINALS)})(?![\w%-]|[.:/]\d)", re.IGNORECASE
)
APPROVED = r"✅|✓|✔|☑|\b(?:correct|right|true|yes)\b"
REFUSED = r"❌|✗|✘|✖|❎|\b(?:incorrect|wrong|false|no|not (?:correct|right|true))\b"
JUDGED = re.compile(  # the verdict behind a label: "C) Rome - correct", "A: no", "B ❌"
    rf"[)\].:]*(?:[^.!?:(\n–—✅✓✔☑❌✗✘✖❎-]{{0,80}}?\s?(?:[-–—:(]|(?<!\w)(?=[^\w\s])))?[\s*:(→=>-]*(?:(?:this |that )?is )?"
    rf"(?:(?P<no>{REFUSED})|(?P<yes>{APPROVED}))(?=\s*(?:[.,;:!?)\n✅❌]|$|[-–—]\s)|\s+(?:because|since|as)\b)",
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Mention:
    """A label in a reply: the index of its choice, its bounds, and whether it stands in brackets.

    `before`: the text before it, as far as it matters. `group`: its choice, and those that are joined to it ("A or B"), which end
    at `end_of_group`. `is_negated`: a negation stands at it, or holds for all of its group ("not A or B", "A and B are wrong").
    """

    choice: int
    start: int
    end: int
    bracketed: bool
    before: str
    group: set[int]
    end_of_group: int
    is_negated: bool


def parse_choice(reply: str, choices: Sequence[str]) -> int | None:
    """The index of the choice that a reply selects; None if it selects none or more than one (`unparsed`).

    The first rule that finds anything decides; if it finds two choices, the reply is unparsed:

    1. The stated answer: "the answer is B", "Answer: (B)", "I choose B", "B is correct", `\\boxed{B}`, or the same with
       a choice's text. The last one after "so", "therefore", "final", ... wins over all others; otherwise they must agree.
       One with "could be", "seems", ... counts only if there is no other, and then like rule 2.
       Else, of several labels with a verdict each ("A: wrong. B: right.", "B ✅"), the one that is approved.
    2. Another label that is selected: the reply or a sentence is one ("B", "**B**", "[b]"), it begins with one ("B) Paris",
       "B. Paris"), it follows "option", "I think", "it's", ..., stands in brackets, or is one of several ("A or B").
    3. The text of exactly one choice, which is not negated ("not Paris").

    Marks of emphasis, quotes and LaTeX are ignored. "The second option" is B. A label that is negated ("not A", "B is
    wrong") or only discussed ("option A is in France") is not selected, nor is the article "a" or the pronoun "I". A letter
    beyond the choices is not a label. A label before another choice's text ("B. Rome") selects both.
    """
    text = _plain(reply[-MAX_CHARACTERS:], choices)
    mentions = _mentions(text, _letters(choices))
    certain, hedged = _stated(text, mentions, choices)
    selected = certain or _approved(text, mentions) or hedged | _selected(text, mentions, choices)
    if selected:
        return selected.pop() if len(selected) == 1 else None
    if {normalize_answer(choice) for choice in choices} <= POLAR and (first := re.match(r"\W*(\w+)", text)):
        said = [index for index, choice in enumerate(choices) if normalize_answer(choice) == first[1].lower()]
        if said:
            return said[0]
    named = {index for index in _named(text, choices) if not _all_negated(text, choices[index])}
    return named.pop() if len(named) == 1 else None


def right_choices(answers: Sequence[str], choices: Sequence[str]) -> set[int]:
    """Indices of the correct choices: those whose text is an answer, else those whose label ("B", "b") is one."""
    accepted = {normalize_answer(answer) for answer in answers} - {""}
    exact = {answer.strip().casefold() for answer in answers} - {""}
    by_text = {
        i
        for i, choice in enumerate(choices)
        if normalize_answer(choice) in accepted or choice.strip().casefold() in exact
    }
    letters = _letters(choices)
    return by_text or {letters[answer.strip().upper()] for answer in answers if answer.strip().upper() in letters}


def expectation_problem(answers: Sequence[str], choices: Sequence[str]) -> str:
    """Why no reply can be scored as right with these answers and choices, naming the key; "" if nothing is wrong.

    An answer must have words after normalization; of a multiple-choice question, the choices must differ, and each answer
    must be the label or the text of one.
    """
    for key, texts in (("answers", answers), ("choices", choices)):
        for text in texts:
            if not isinstance(text, str):
                return f"{key}: {text!r} is no text"
            if not (text.strip() if choices else normalize_answer(text)):  # a choice may be a sign, its label is said
                return f"{key}: {text!r} has no words that a reply could contain"
    if not choices:
        return ""
    if len(choices) == 1 or not answers:
        return "choices: a multiple-choice question needs two or more" if answers else "choices: there are no answers"
    first: dict[str, str] = {}
    for choice in choices:
        key = " ".join(choice.casefold().split()).strip(".,;:!? ") or choice
        if key in first:
            return f"choices: {choice!r} is the same as {first[key]!r}"
        first[key] = choice
    for answer in answers:
        if not right_choices([answer], choices):
            letters = ", ".join(f"{label(i)} ({choice})" for i, choice in enumerate(choices))
            return f"answers: {answer!r} is neither the label nor the text of a choice: {letters}"
    return ""


def label(index: int) -> str:
    """The label of a choice: A for the first; empty beyond 26."""
    return string.ascii_uppercase[index] if index < len(string.ascii_uppercase) else ""


def _letters(choices: Sequence[str]) -> Mapping[str, int]:
    """{capital: index}: the labels; a choice whose text is a single letter is selected by that letter."""
    labels = {label(index): index for index in range(min(len(choices), 26))}
    own = {
        choice.strip().upper(): index
        for index, choice in enumerate(choices)
        if re.fullmatch(r"[A-Za-z]", choice.strip())
    }
    return {**labels, **own}


def _plain(reply: str, choices: Sequence[str]) -> str:
    """The reply without markup; a marked letter becomes a bracketed one, an ordinal and "option 2" a label."""
    text = INVISIBLE.sub("", unicodedata.normalize("NFKC", reply))
    text = re.sub(r"\\[()\[\]]", " ", text)
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf)\{([^{}]*)\}", r"\1", text)
    text = re.sub(
        r"\\boxed\{([^{}]*)\}|<answer>\s*(.*?)\s*</answer>", lambda m: f". The answer is {m[1] or m[2] or ''}. ", text
    )
    text = re.sub(r"</?[a-zA-Z][\w-]*>", " ", text)
    text = MARKED.sub(r"(\1)", text)
    text = re.sub(r"[*`\"“”]|\$(?![0-9])|(?<!\w)_+|_+(?!\w)|(?m:^[ \t]*[-•>+#]+[ \t]+)", "", text)
    places = {**{word: i for i, word in enumerate(ORDINALS)}, "last": len(choices) - 1}
    text = ORDINAL.sub(lambda m: f"option ({label(places[m[1].lower()])})", text)
    if any(map(str.isdecimal, choices)):
        return text
    places = {word: i for words in (CARDINALS, "123456") for i, word in enumerate(words)}
    return NUMBERED.sub(lambda m: f"option ({label(places[m[1].lower()])})", text)


def _mentions(text: str, labels: Mapping[str, int]) -> list[_Mention]:
    """All letters that may be labels, without the article and the pronoun."""
    runs: list[list[_Mention]] = []
    for found in LABEL.finditer(text):
        letter, bracketed = (found[1] or found[2] or found[3] or found[4]).upper(), bool(found[1])
        if letter not in labels:
            continue
        if not bracketed and letter == "A" and not AFTER_A.match(text, found.end()):
            continue
        if not bracketed and letter == "I" and not re.match(r"\s*(?:[.):]|$)", text[found.end() :][:CONTEXT]):
            continue
        before = text[max(0, found.start() - CONTEXT) : found.start()]
        here = _Mention(labels[letter], found.start(), found.end(), bracketed, before, set(), found.end(), False)
        here.is_negated = bool(
            NEGATED_BEFORE.search(before) or DISBELIEVED.search(before) or NEGATED_AFTER.match(text, here.end)
        )
        run = runs[-1] if runs else []
        is_joined = run and here.start - run[-1].end < CONTEXT and JOINED.fullmatch(text, run[-1].end, here.start)
        if is_joined and here.choice not in {mention.choice for mention in run}:
            run.append(here)
        else:
            runs.append([here])
    return [mention for run in runs for mention in _grouped(text, run)]


def _grouped(text: str, run: list[_Mention]) -> list[_Mention]:
    """The mentions of labels that are joined to each other, with their groups.

    A negation before the first holds for a list that ends with "or" or "and", else ("not A, B") for the first alone.
    """
    first, last = run[0], run[-1]
    if len(run) > 1 and first.is_negated and text[run[-2].end : last.start].strip() == ",":
        first.group = {first.choice}
        return [first, *_grouped(text, run[1:])]
    group, is_negated = {mention.choice for mention in run}, first.is_negated or last.is_negated
    for mention in run:
        mention.group, mention.end_of_group, mention.is_negated = group, last.end, is_negated
    return run


def _stated(text: str, mentions: Sequence[_Mention], choices: Sequence[str]) -> tuple[set[int], set[int]]:
    """Rule 1. (the choices that are stated as the answer, or the one that is finally stated; those that may be it)."""
    stated: list[tuple[int, set[int], bool]] = []  # (position, choices, whether it is final)
    hedged: set[int] = set()
    for found in STATEMENT.finditer(text):
        before = text[max(0, found.start() - CONTEXT) : found.start()]
        if DISBELIEVED.search(before):
            continue
        here = _listed(text, found.end(), mentions, choices)
        if not here and (sentence := re.match(r"[^.!?\n]*", text[found.end() :][:CONTEXT])):
            named = _named(sentence[0], choices)
            here = {i for i in named if not _all_negated(sentence[0], choices[i])}
        if HEDGE.search(found[0]):
            hedged |= here
        else:
            stated.append((found.start(), here, bool(FINAL.search(before + found[0]))))
    for mention in mentions:
        if (verdict := SUBJECT.match(text, mention.end)) and not mention.is_negated:
            here = mention.group
            if HEDGE.search(verdict[0]):
                hedged |= here
            else:
                stated.append((mention.start, here, bool(FINAL.search(mention.before))))
    stated = [entry for entry in sorted(stated, key=lambda entry: entry[0]) if entry[1]]
    final = [here for _, here, is_final in stated if is_final]
    return (final[-1] if final else set().union(*(here for _, here, _ in stated))), hedged


def _listed(text: str, start: int, mentions: Sequence[_Mention], choices: Sequence[str]) -> set[int]:
    """The choices whose labels follow directly at `start`, those that are negated excepted."""
    for mention in mentions:
        if mention.start >= start:
            direct = re.fullmatch(rf"[\s:,]*(?:not\s+)?{FILLERS}", text[start : mention.start][:CONTEXT], re.IGNORECASE)
            picked = direct and not mention.is_negated
            return mention.group | _contradicted(text, mention, choices) if picked else set()
    return set()


def _contradicted(text: str, mention: _Mention, choices: Sequence[str]) -> set[int]:
    """The other choice whose text stands directly behind a label."""
    tail = re.match(r"[\s).:\]}–—-]*([^.!?\n(]*)", text[mention.end :][:CONTEXT])
    said = normalize_answer(tail[1]) if tail else ""
    return {i for i, choice in enumerate(choices) if said and said == normalize_answer(choice)} - {mention.choice}


def _approved(text: str, mentions: Sequence[_Mention]) -> set[int]:
    """The choices that are approved, where at least two have a verdict, one of them a refusal."""
    verdicts: dict[int, bool] = {}
    ends = [*(mention.start for mention in mentions[1:]), len(text)]
    for mention, end in zip(mentions, ends, strict=False):
        behind = text[mention.end : end][:CONTEXT]
        verdict = JUDGED.match(behind)
        if verdict and (mention.bracketed or CUE.search(mention.before)):
            verdicts[mention.choice] = bool(verdict["yes"])
    return {choice for choice, yes in verdicts.items() if yes} if len({*verdicts.values()}) == 2 else set()


def _selected(text: str, mentions: Sequence[_Mention], choices: Sequence[str]) -> set[int]:
    """Rule 2. The choices whose labels are selected without a statement."""
    selected: set[int] = set()
    for mention in mentions:
        before, after, group = mention.before, text[mention.end :][:CONTEXT], len(mention.group) > 1
        leads = bool(LEADING.search(before)) and bool(mention.bracketed or DELIMITER.match(after) or not after.strip())
        ends = bool(
            re.match(
                r"\s*(?:[.,;:!?)\]\n]|$|[-–—]\s)|\s+(?:because|since|as|rather|instead|over|not)\b|\s*\(not\b", after
            )
        )
        cued = bool(CUE.search(before)) and (ends or bool(re.search(r"\b(?:option|choice|letter)\s*$", before, re.I)))
        if not (leads or cued or mention.bracketed or group):
            continue
        discussed = DISCUSSED.match(after)
        if (DOUBTED_GROUP if group else DOUBTED).match(text, mention.end_of_group):  # "Is it A? No, it is B."
            continue
        if mention.is_negated or (discussed and not VERDICT.search(discussed[1]) and not group):
            continue
        selected |= mention.group | _contradicted(text, mention, choices)
    return selected


def _named(text: str, choices: Sequence[str]) -> set[int]:
    """Rule 3. The choices whose text is contained; within a longer one, a shorter one does not count."""
    contained = [i for i, choice in enumerate(choices) if contains(text, [choice])]
    return {i for i in contained if not any(_is_part_of(choices[i], choices[j]) for j in contained if j != i)}


def _is_part_of(part: str, whole: str) -> bool:
    return normalize_answer(part) != normalize_answer(whole) and contains(whole, [part])


def _all_negated(text: str, choice: str) -> bool:
    """Whether a "not" stands directly before each occurrence of a choice's text."""
    words = re.escape(" ".join(choice.split()))
    free = re.sub(
        rf"{NOT}\s+(?:(?:is|in|at|by|a|an|the|it|it['’]s|think|believe)\s+)*{words}\b",
        " ",
        " ".join(text.split()),
        flags=re.I,
    )
    return len(free) < len(" ".join(text.split())) and not contains(free, [choice])
