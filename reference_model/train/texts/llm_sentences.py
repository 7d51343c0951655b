"""Generates training sentences with the frozen LLM, each about another topic: questions, requests, facts and remarks.

    python -m reference_model.train.texts.llm_sentences --out runs/data/llm_texts.jsonl --texts DATA/qa_text --count 30000

The file grows batch by batch. An interrupted run resumes with the same command.
"""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import click
import torch
from transformers import DynamicCache

from fobench.api import registry
from fobench.errors import FobenchError
from fobench.scoring.text_normalization import normalize_as_whisper
from reference_model.train.texts import question_sets, sentence_set
from reference_model.train.texts.prompt_patterns import PATTERNS
from reference_model.train.texts.question_sets import FoundSentence
from reference_model.train.texts.sentence_casing import is_speakable, verbalize

log = logging.getLogger("llm_texts")
BATCH = 256  # sentences generated at once
MAX_TOKENS = 26  # tokens per sentence
TEMPERATURE, TOP_P, TOP_K = 0.9, 0.95, 200
FREE_START_SHARE = 0.3  # share of batches without prescribed first words
WORDS = range(3, 19)  # words per sentence
MAX_SHARE = 0.003  # largest share of sentences with the same opening, or equal except for the topic
OPENING = 4  # words that form an opening
STEM = 5  # leading letters of a topic's word that a sentence must contain
WHOLE_WORD_PROBABILITY = 0.5  # least probability that a token is a whole word
META = re.compile(
    r"^(sure|okay here|here)\b|\b(sentences?|topics?|phrases?|words?|questions? about|as an AI|language model|quiz|trivia"
    r"|here (is|are)|user|chatbot|prompts?)\b",
    re.IGNORECASE,
)
CRUDE = re.compile(r"\b(porn|sex|rape|rapist|penis|vagina|naked|nude|genocide|suicid)", re.IGNORECASE)
REPEATED = re.compile(r"\b(\w+)[,.]? \1\b|\b(\w{4,})\b.*\b\2\b.*\b\2\b", re.IGNORECASE)
LOOSE = re.compile(
    r"(?:^|\s)['-]|['-](?:\s|$)|[:;]|[.?!] [a-z]|[.?!,][A-Za-z]|[.?!]{2}"
)  # punctuation that is not speech


@dataclass(frozen=True, slots=True)
class WrittenLine:
    """A line of the output file. `batch`: the number of its batch, from 0."""

    text: str
    kind: str
    topic: str
    batch: int


class SentenceAuthor(Protocol):
    """Generates sentences. `pools`: (topics, probability); the topics of a pool can be batched together."""

    @property
    def pools(self) -> Sequence[tuple[Sequence[str], float]]: ...

    def write(self, prompt: str, rows: Sequence[str], seed: int) -> list[str]:
        """Returns the continuation of each row after the prompt, up to the end of the line; empty where it does not
        end."""


class LLMAuthor:
    """Sentence author that samples from the frozen LLM. Topics: whole words of its vocabulary, and `names`."""

    def __init__(self, backbone: Any, names: Iterable[str]) -> None:
        """`backbone`: one of the transformers library; `names`: topics of several tokens."""
        self._backbone = backbone
        self._model: Any = backbone.model
        vocabulary = backbone.tokenizer.get_vocab()
        forms = {token: backbone.tokenizer.convert_tokens_to_string([name]) for name, token in vocabulary.items()}
        ends = {token for token, form in forms.items() if "\n" in form} | set(backbone.end_ids)
        self._ends = torch.tensor(sorted(ends))
        self.pools = self._pools(forms, names)

    def _pools(self, forms: Mapping[int, str], names: Iterable[str]) -> list[tuple[list[str], float]]:
        """Returns capitalized words, other words, and names grouped by their number of tokens, because a batch has one
        length."""
        words = self._whole_words(forms)
        common = [word for word in words if word.islower()]
        proper = [word for word in words if word.istitle() and word.lower() not in set(common)]
        lengths: dict[int, list[str]] = {}
        for name in names:
            lengths.setdefault(len(self._backbone.encode(f" {name}")), []).append(name)
        groups = [group for group in lengths.values() if len(group) >= BATCH // 2]
        total = sum(map(len, groups))
        pools = [(proper, 0.3), (common, 0.45), *((group, 0.25 * len(group) / total) for group in groups)]
        return [(pool, share) for pool, share in pools if pool]

    @torch.inference_mode()
    def _whole_words(self, forms: Mapping[int, str]) -> list[str]:
        """Returns the vocabulary's tokens that the LLM does not expect to be continued by a letter."""
        tokens = {t: form[1:] for t, form in sorted(forms.items()) if re.fullmatch(r" [A-Za-z]{3,}", form)}
        word_ends = torch.tensor(
            [not re.match("[A-Za-z]", forms.get(t, "a")) for t in range(self._backbone.vocab_size)]
        )
        found = []
        for start in range(0, len(tokens), BATCH):
            ids = torch.tensor(list(tokens)[start : start + BATCH])
            logits, _ = self._next_logits(ids[:, None], self._prefill("We talked about", len(ids)))
            probabilities = logits.softmax(-1) @ word_ends.float()
            found += [tokens[token] for token in ids[probabilities > WHOLE_WORD_PROBABILITY].tolist()]
        return found

    @torch.inference_mode()
    def write(self, prompt: str, rows: Sequence[str], seed: int) -> list[str]:
        """Implements `SentenceAuthor.write`. Rows with another number of tokens than most are skipped."""
        generator = torch.Generator().manual_seed(seed)
        encoded = [self._backbone.encode(row) for row in rows]
        length = Counter(map(len, encoded)).most_common(1)[0][0]
        active = torch.tensor([i for i, row in enumerate(encoded) if len(row) == length])
        ids, cache = torch.tensor([encoded[i] for i in active]), self._prefill(prompt, len(active))
        tokens: list[list[int]] = [[] for _ in rows]
        finished = torch.zeros(len(active), dtype=torch.bool)
        for _ in range(MAX_TOKENS):
            logits, cache = self._next_logits(ids, cache)
            ids = _sample(logits, generator)
            finished |= torch.isin(ids[:, 0], self._ends)
            for row, token in zip(active[~finished].tolist(), ids[~finished, 0].tolist(), strict=True):
                tokens[row].append(token)
            if finished.all():
                break
            if finished.sum() * 8 >= len(active):
                cache.batch_select_indices((~finished).nonzero()[:, 0])
                ids, active, finished = ids[~finished], active[~finished], finished[~finished]
        unfinished = set(active[~finished].tolist())
        return ["" if i in unfinished else self._backbone.tokenizer.decode(row) for i, row in enumerate(tokens)]

    def _prefill(self, text: str, rows: int) -> Any:
        """Computes the KV cache of `text` once, and repeats it for `rows` rows."""
        cache = DynamicCache()
        self._next_logits(torch.tensor([self._backbone.encode(text)]), cache)
        cache.batch_repeat_interleave(rows)
        return cache

    def _next_logits(self, ids: torch.Tensor, cache: Any) -> tuple[torch.Tensor, Any]:
        """Returns logits of the next token [B, V] after ids [B, T], and the KV cache, which is extended in place."""
        hidden = self._model.base_model(input_ids=ids, past_key_values=cache).last_hidden_state
        last = hidden[:, -1].contiguous()  # otherwise torch copies the output weights for every row
        return self._model.get_output_embeddings()(last).float(), cache


def _sample(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Samples ids [B, 1] from logits [B, V] with temperature, top-k and top-p."""
    top, ids = logits.topk(min(TOP_K, logits.shape[-1]))
    probabilities = (top / TEMPERATURE).softmax(-1)
    probabilities = probabilities.masked_fill(probabilities.cumsum(-1) - probabilities > TOP_P, 0.0)
    return ids.gather(1, torch.multinomial(probabilities, 1, generator=generator))


@dataclass(slots=True)
class CollectedSentences:
    """Sentences accepted so far: their normal forms, and counts of their openings and of their forms without the
    topic."""

    seen: set[str] = field(default_factory=set)
    forms: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.seen)

    def add(self, text: str, topic: str) -> bool:
        """Adds a sentence, unless it is a duplicate, a benchmark question, or too similar to many others; returns
        whether it was added."""
        normal = normalize_as_whisper(text)
        forms = _opening(text), text.lower().replace(topic.lower(), "...")
        too_frequent = any(self.forms[form] >= 3 + MAX_SHARE * len(self) for form in forms)
        if not normal or normal in self.seen or normal in sentence_set.benchmark() or too_frequent:
            return False
        self.seen.add(normal)
        self.forms.update(forms)
        return True


def _opening(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower())[:OPENING])


def sentence(raw: str, topic: str, kind: str) -> FoundSentence | None:
    """Returns a generated sentence, verbalized; None if it is not a plain sentence of the kind, or lacks the name that
    is its topic."""
    text = verbalize(raw.replace('"', ""))
    text = text[:1].upper() + text[1:]
    found = FoundSentence(
        text, "question" if text.endswith("?") and kind == "statement" else kind, sentence_set.WRITTEN
    )
    fits_kind = text.endswith("?") or kind != "question"
    plain = text.endswith((".", "?", "!")) and not any(rule.search(text) for rule in (META, CRUDE, REPEATED, LOOSE))
    fits = sentence_set.fits(found) and len(text.split()) in WORDS
    return found if fits_kind and plain and fits and (topic.islower() or mentions(text, topic)) else None


def mentions(text: str, topic: str) -> bool:
    """Returns whether a sentence has a word with the stem of a word of the topic."""
    stems = [word[:STEM].lower() for word in topic.split() if len(word) > 3] or [topic.lower()]
    return any(re.search(rf"\b{re.escape(stem)}", text.lower()) for stem in stems)


def write_batch(author: SentenceAuthor, number: int, seed: int) -> Iterator[WrittenLine]:
    """Yields the valid sentences of batch `number`, reproducibly."""
    rng = random.Random(f"{seed} {number}")
    pattern = rng.choices(PATTERNS, [pattern.share for pattern in PATTERNS])[0]
    pool = rng.choices([pool for pool, _ in author.pools], [weight for _, weight in author.pools])[0]
    topics = rng.sample(pool, min(BATCH, len(pool)))
    free_start = rng.random() < FREE_START_SHARE
    openers = ["" if free_start else f" {rng.choice(pattern.openers.split())}" for _ in topics]
    rows = [f" {topic}\n{pattern.label}:{opener}" for topic, opener in zip(topics, openers, strict=True)]
    written = author.write(pattern.prompt(rng), rows, rng.randrange(2**31))
    for topic, opener, raw in zip(topics, openers, written, strict=True):
        if raw and (found := sentence(opener + raw, topic, pattern.kind)):
            yield WrittenLine(found.text, found.kind, topic, number)


def fill(path: Path, author: Callable[[], SentenceAuthor], count: int, seed: int) -> int:
    """Appends batches to the file until it has `count` sentences; returns their number."""
    lines = read(path) if path.exists() else []
    collected = CollectedSentences()
    for line in lines:
        collected.add(line.text, line.topic)
    number = max((line.batch for line in lines), default=-1) + 1
    writer = author() if len(lines) < count else None
    start, before = time.monotonic(), len(lines)
    while writer and len(lines) < count:
        lines += _append(
            path, [line for line in write_batch(writer, number, seed) if collected.add(line.text, line.topic)]
        )
        number += 1
        if number % 20 == 0:
            rate = 60 * (len(lines) - before) / (time.monotonic() - start)
            log.info("%d of %d; %.0f a minute", len(lines), count, rate)
    return len(lines)


def _append(path: Path, lines: list[WrittenLine]) -> list[WrittenLine]:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(asdict(line)) + "\n" for line in lines))
    return lines


def read(path: Path) -> list[WrittenLine]:
    """Reads the sentences of a file."""
    return [WrittenLine(**line) for line in read_lines(path)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a file of JSON lines; truncates an incomplete last line of an interrupted run."""
    data = path.read_bytes()
    complete = data.rfind(b"\n") + 1
    if complete < len(data):
        with path.open("r+b") as file:
            file.truncate(complete)
    return [json.loads(line) for line in data[:complete].decode().split("\n") if line.strip()]


def topic_names(folder: Path) -> list[str]:
    """Returns the names and titles among the answers of the question sets."""
    names = {verbalize(name) for name in question_sets.entities(folder) if not re.search(r"\d", name)}
    return sorted(name for name in names if is_speakable(name) and name[0].isupper() and "," not in name)


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Output file, .jsonl.")
@click.option(
    "--texts", "folder", type=click.Path(path_type=Path), help="Folder of question sets, whose names become topics."
)
@click.option("--count", type=click.IntRange(1, 10_000_000), default=30000, show_default=True)
@click.option("--backbone", default="smollm2-135m", show_default=True)
@click.option("--dtype", default="bfloat16", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
def main(out: Path, folder: Path | None, count: int, backbone: str, dtype: str, seed: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%d %H:%M:%S")

    def author() -> SentenceAuthor:
        return LLMAuthor(
            registry.create("backbones", backbone, {"dtype": dtype}), topic_names(folder) if folder else ()
        )

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        log.info("complete: %d sentences in %s", fill(out, author, count, seed), out)
    except FobenchError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
