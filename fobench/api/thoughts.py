"""Thoughts of reasoning models: the marked part of an LLM's output that is neither scored nor spoken.

`<think>...</think>` is what Qwen3, DeepSeek-R1, SmolLM3, GLM and most others write; the other tags are those of models
trained with their own (EXAONE Deep, Seed-OSS, Magistral, Kimi, Command A, OpenThinker, gpt-oss).
"""

from __future__ import annotations

import re

NAMES = (
    *("think", "thinking", "thought", "thoughts", "reason", "reasoning", "reflection", "scratchpad", "analysis"),
    *("inner_monologue", "antthinking", "seed:think"),
)
TAGS: dict[str, tuple[str, str]] = {  # {kind of thought: (opening tag, closing tag)}, in lower case
    **{name: (f"<{name}>", f"</{name}>") for name in NAMES},
    "[think]": ("[think]", "[/think]"),
    "◁think▷": ("◁think▷", "◁/think▷"),
    "start_thinking": ("<|start_thinking|>", "<|end_thinking|>"),
    "begin_of_thought": ("<|begin_of_thought|>", "<|end_of_thought|>"),
    "channel analysis": ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
}
OPENING = {opening: kind for kind, (opening, _) in TAGS.items()}
CLOSING = {closing: kind for kind, (_, closing) in TAGS.items()}
ALL_TAGS = (*OPENING, *CLOSING)
TAG = re.compile("|".join(map(re.escape, ALL_TAGS)), re.IGNORECASE | re.ASCII)
PARTIAL_TAG = re.compile(rf"[{re.escape(''.join({tag[0] for tag in ALL_TAGS}))}]")
LONGEST = max(map(len, ALL_TAGS))


class ThoughtFilter:
    """Removes the thoughts from a reply that arrives in pieces of any length; a tag may be cut anywhere.

    A thought lasts from its opening tag to the matching closing tag (nested ones are counted). Without a matching one it
    ends at the last closing tag, and without any at the end of the reply. A space stands for a thought between words. A
    closing tag without an opening one is removed.
    """

    def __init__(self) -> None:
        self.kind = ""  # of the thought that is open; "": none
        self._waiting = ""  # may be the beginning of a tag
        self._depth = 0  # of nested thoughts
        self._after: str | None = None  # inside a thought: the text since a closing tag, if there was one
        self._last = ""  # the last character that was said
        self._gap = False  # whether there was a tag since then

    @property
    def holding(self) -> bool:
        """Whether text that may be the beginning of a tag is held back."""
        return bool(self._waiting)

    def push(self, piece: str) -> str:
        """The text that the next piece of the reply adds to what is said."""
        text, begin, said = self._waiting + piece, 0, ""
        for tag in TAG.finditer(text):
            said += self._say(text[begin : tag.start()])
            self._meet(tag[0].lower(), tag[0])
            begin = tag.end()
        end = begin + _partial_tag(text[begin:])
        self._waiting = text[end:]
        return said + self._say(text[begin:end])

    def flush(self) -> str:
        """The text that was held back, at the end of the reply."""
        waiting, self._waiting = self._waiting, ""
        said = self._say(waiting)
        if self.kind and self._after:
            rest = ThoughtFilter()
            after = rest.push(self._after) + rest.flush()
            self.kind, self._gap = "", True
            said = self._say(after)
        return said

    def _meet(self, tag: str, written: str) -> None:
        if not self.kind:
            self.kind, self._depth, self._after, self._gap = OPENING.get(tag, ""), 1, None, True
        elif OPENING.get(tag) == self.kind:
            self._depth += 1
            self._say(written)
        elif CLOSING.get(tag) == self.kind:
            self._depth, self._after = self._depth - 1, ""
            self.kind = self.kind if self._depth else ""
        else:
            self._say(written)

    def _say(self, text: str) -> str:
        """`text`, if no thought is open, after a space where a thought stood between words."""
        if self.kind:
            self._after = None if self._after is None else self._after + text
            return ""
        if not text:
            return ""
        apart = self._gap and self._last and not self._last.isspace() and not text[0].isspace()
        self._last, self._gap = text[-1], False
        return f" {text}" if apart else text


def _partial_tag(text: str) -> int:
    """Where in `text` (without a complete tag) the beginning of a tag begins; its length, if nowhere."""
    for start in PARTIAL_TAG.finditer(text, max(0, len(text) - LONGEST)):
        rest = text[start.start() :].lower()
        if any(tag.startswith(rest) for tag in ALL_TAGS):
            return start.start()
    return len(text)


def without_thoughts(text: str) -> str:
    """The reply without its thoughts, as `ThoughtFilter` gives it.

    If the first tag is a closing one, all before it was a thought: the prompt had opened it.
    """
    first = TAG.search(text)
    if first is None:
        return text
    thoughts = ThoughtFilter()
    opening = TAGS[CLOSING[first[0].lower()]][0] if first[0].lower() in CLOSING else ""
    return thoughts.push(opening + text) + thoughts.flush()


def opened_thought(prompt: str) -> str:
    """The opening tag at a prompt's end, after which a reply begins inside a thought (DeepSeek-R1); "" without one."""
    end = prompt.rstrip().lower()
    return next((opening for opening in OPENING if end.endswith(opening)), "")
