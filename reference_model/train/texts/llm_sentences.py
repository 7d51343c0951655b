"""Sentences that the frozen LLM writes itself, each about a topic of its own: questions, requests, facts and remarks.

    python -m reference_model.train.texts.llm_sentences --out runs/data/llm_texts.jsonl --texts DATA/qa_text --count 30000

The file grows batch by batch. Stop it as you like: the same command goes on where it was.
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
from fobench.scoring.text_normalization import normalise
from reference_model.train.texts import question_sets, sentence_set
from reference_model.train.texts.prompt_patterns import PATTERNS
from reference_model.train.texts.question_sets import FoundSentence
from reference_model.train.texts.sentence_casing import is_speakable, spelt

log = logging.getLogger("llm_texts")
BATCH = 256  # sentences written at once
LONGEST = 26  # tokens of a sentence
TEMPERATURE, TOP_P, TOP_K = 0.9, 0.95, 200
FREE = 0.3  # share of batches whose sentences may begin as they like
WORDS = range(3, 19)  # in a sentence
ALIKE = 0.003  # the share of sentences that may begin with the same words, or be the same but for the topic
OPENING = 4  # words that count as a beginning
STEM = 5  # letters of a topic's word that a sentence must hold
WHOLE = 0.5  # how sure the LLM is that a token of its vocabulary is a whole word
META = re.compile(
    r"^(sure|okay here|here)\b|\b(sentences?|topics?|phrases?|words?|questions? about|as an AI|language model|quiz|trivia"
    r"|here (is|are)|user|chatbot|prompts?)\b",
    re.IGNORECASE,
)
CRUDE = re.compile(r"\b(porn|sex|rape|rapist|penis|vagina|naked|nude|genocide|suicid)", re.IGNORECASE)
REPEATED = re.compile(r"\b(\w+)[,.]? \1\b|\b(\w{4,})\b.*\b\2\b.*\b\2\b", re.IGNORECASE)
LOOSE = re.compile(
    r"(?:^|\s)['-]|['-](?:\s|$)|[:;]|[.?!] [a-z]|[.?!,][A-Za-z]|[.?!]{2}"
)  # marks that stand for something not said


@dataclass(frozen=True, slots=True)
class WrittenLine:
    """A line of the file. `batch`: the number of the batch it is of, from 0."""

    text: str
    kind: str
    topic: str
    batch: int


class SentenceAuthor(Protocol):
    """Writes sentences. `pools`: topics and how often one of them is taken; those of a pool can be written about at once."""

    pools: Sequence[tuple[Sequence[str], float]]

    def write(self, prompt: str, rows: Sequence[str], seed: int) -> list[str]:
        """How each row, set after the prompt, goes on to the end of its line; empty where it does not end."""


class LLMAuthor:
    """The frozen LLM as an author. Its topics: whole words of its own vocabulary, and names given to it."""

    def __init__(self, backbone: Any, names: Iterable[str]) -> None:
        """`backbone`: one made of a transformers model; `names`: topics of several tokens."""
        self._backbone = backbone
        self._model: Any = backbone.model
        vocabulary = backbone.tokenizer.get_vocab()
        forms = {token: backbone.tokenizer.convert_tokens_to_string([name]) for name, token in vocabulary.items()}
        ends = {token for token, form in forms.items() if "\n" in form} | set(backbone.end_ids)
        self._ends = torch.tensor(sorted(ends))
        self.pools = self._pools(forms, names)

    def _pools(self, forms: Mapping[int, str], names: Iterable[str]) -> list[tuple[list[str], float]]:
        """Capitalised words, other words, and the names by their number of tokens: a batch must be of one length."""
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
        """The words of the vocabulary after which the LLM expects no further letter."""
        tokens = {t: form[1:] for t, form in sorted(forms.items()) if re.fullmatch(r" [A-Za-z]{3,}", form)}
        apart = torch.tensor([not re.match("[A-Za-z]", forms.get(t, "a")) for t in range(self._backbone.vocab_size)])
        found = []
        for start in range(0, len(tokens), BATCH):
            ids = torch.tensor(list(tokens)[start : start + BATCH])
            scores, _ = self._scores(ids[:, None], self._started("We talked about", len(ids)))
            chances = scores.softmax(-1) @ apart.float()
            found += [tokens[token] for token in ids[chances > WHOLE].tolist()]
        return found

    @torch.inference_mode()
    def write(self, prompt: str, rows: Sequence[str], seed: int) -> list[str]:
        """See Author. Rows of another number of tokens than most are left out."""
        generator = torch.Generator().manual_seed(seed)
        encoded = [self._backbone.encode(row) for row in rows]
        length = Counter(map(len, encoded)).most_common(1)[0][0]
        going = torch.tensor([i for i, row in enumerate(encoded) if len(row) == length])
        ids, cache = torch.tensor([encoded[i] for i in going]), self._started(prompt, len(going))
        over, tokens = torch.zeros(len(going), dtype=torch.bool), [[] for _ in rows]
        for _ in range(LONGEST):
            scores, cache = self._scores(ids, cache)
            ids = _sampled(scores, generator)
            over |= torch.isin(ids[:, 0], self._ends)
            for row, token in zip(going[~over].tolist(), ids[~over, 0].tolist(), strict=True):
                tokens[row].append(token)
            if over.all():
                break
            if over.sum() * 8 >= len(going):
                cache.batch_select_indices((~over).nonzero()[:, 0])
                ids, going, over = ids[~over], going[~over], over[~over]
        endless = set(going[~over].tolist())
        return ["" if i in endless else self._backbone.tokenizer.decode(row) for i, row in enumerate(tokens)]

    def _started(self, text: str, rows: int) -> Any:
        """The state after `text`, `rows` times: it is computed once."""
        cache = DynamicCache()
        self._scores(torch.tensor([self._backbone.encode(text)]), cache)
        cache.batch_repeat_interleave(rows)
        return cache

    def _scores(self, ids: torch.Tensor, cache: Any) -> tuple[torch.Tensor, Any]:
        """[B, T] ids -> scores of the next token [B, V], and the state, which has grown in place."""
        hidden = self._model.base_model(input_ids=ids, past_key_values=cache).last_hidden_state
        last = hidden[:, -1].contiguous()  # else torch copies the output weights for every row
        return self._model.get_output_embeddings()(last).float(), cache


def _sampled(scores: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """[B, V] -> [B, 1] ids: among the TOP_K best, of them those that hold TOP_P of the chance."""
    best, ids = scores.topk(min(TOP_K, scores.shape[-1]))
    chances = (best / TEMPERATURE).softmax(-1)
    chances = chances.masked_fill(chances.cumsum(-1) - chances > TOP_P, 0.0)
    return ids.gather(1, torch.multinomial(chances, 1, generator=generator))


@dataclass(slots=True)
class CollectedSentences:
    """What was taken so far: normal forms; how many sentences begin alike, and are the same but for their topic."""

    seen: set[str] = field(default_factory=set)
    forms: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.seen)

    def take(self, text: str, topic: str) -> bool:
        """Takes a sentence, unless it is known, a question of the benchmark, or too many are like it."""
        normal = normalise(text)
        forms = _opening(text), text.lower().replace(topic.lower(), "...")
        alike = any(self.forms[form] >= 3 + ALIKE * len(self) for form in forms)
        if not normal or normal in self.seen or normal in sentence_set.benchmark() or alike:
            return False
        self.seen.add(normal)
        self.forms.update(forms)
        return True


def _opening(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower())[:OPENING])


def sentence(raw: str, topic: str, kind: str) -> FoundSentence | None:
    """What the LLM wrote, spelt out; None if it is no plain sentence of the kind, or lacks the name that is its topic."""
    text = spelt(raw.replace('"', ""))
    text = text[:1].upper() + text[1:]
    found = FoundSentence(
        text, "question" if text.endswith("?") and kind == "statement" else kind, sentence_set.WRITTEN
    )
    asks = text.endswith("?") or kind != "question"
    plain = text.endswith((".", "?", "!")) and not any(rule.search(text) for rule in (META, CRUDE, REPEATED, LOOSE))
    fits = sentence_set.fits(found) and len(text.split()) in WORDS
    return found if asks and plain and fits and (topic.islower() or mentions(text, topic)) else None


def mentions(text: str, topic: str) -> bool:
    """Whether a sentence has a word that begins like one of the topic's."""
    stems = [word[:STEM].lower() for word in topic.split() if len(word) > 3] or [topic.lower()]
    return any(re.search(rf"\b{re.escape(stem)}", text.lower()) for stem in stems)


def batch(author: SentenceAuthor, number: int, seed: int) -> Iterator[WrittenLine]:
    """The good sentences of the batch `number`: the same ones whenever it is written."""
    rng = random.Random(f"{seed} {number}")
    pattern = rng.choices(PATTERNS, [pattern.share for pattern in PATTERNS])[0]
    pool = rng.choices([pool for pool, _ in author.pools], [weight for _, weight in author.pools])[0]
    topics = rng.sample(pool, min(BATCH, len(pool)))
    free = rng.random() < FREE
    openers = ["" if free else f" {rng.choice(pattern.openers.split())}" for _ in topics]
    rows = [f" {topic}\n{pattern.label}:{opener}" for topic, opener in zip(topics, openers, strict=True)]
    written = author.write(pattern.prompt(rng), rows, rng.randrange(2**31))
    for topic, opener, raw in zip(topics, openers, written, strict=True):
        if raw and (found := sentence(opener + raw, topic, pattern.kind)):
            yield WrittenLine(found.text, found.kind, topic, number)


def fill(path: Path, author: Callable[[], SentenceAuthor], count: int, seed: int) -> int:
    """Writes batches after those in the file until it holds `count` sentences; how many there are then."""
    known = read(path) if path.exists() else []
    collected = CollectedSentences()
    for line in known:
        collected.take(line.text, line.topic)
    number = max((line.batch for line in known), default=-1) + 1
    writer = author() if len(known) < count else None
    start, before = time.monotonic(), len(known)
    while writer and len(known) < count:
        known += _append(path, [line for line in batch(writer, number, seed) if collected.take(line.text, line.topic)])
        number += 1
        if number % 20 == 0:
            rate = 60 * (len(known) - before) / (time.monotonic() - start)
            log.info("%d of %d; %.0f a minute", len(known), count, rate)
    return len(known)


def _append(path: Path, lines: list[WrittenLine]) -> list[WrittenLine]:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(asdict(line)) + "\n" for line in lines))
    return lines


def read(path: Path) -> list[WrittenLine]:
    """The sentences in the file."""
    return [WrittenLine(**line) for line in read_lines(path)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of JSON lines; one that a kill cut off is taken out of it."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
    return [json.loads(line) for line in data[:whole].decode().splitlines()]


def names(folder: Path) -> list[str]:
    """The names and titles among the answers of the question sets."""
    spoken = {spelt(name) for name in question_sets.entities(folder) if not re.search(r"\d", name)}
    return sorted(name for name in spoken if is_speakable(name) and name[0].isupper() and "," not in name)


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .jsonl file.")
@click.option(
    "--texts", "folder", type=click.Path(path_type=Path), help="Folder of question sets: their names as topics."
)
@click.option("--count", default=30000, show_default=True)
@click.option("--backbone", default="smollm2-135m", show_default=True)
@click.option("--dtype", default="bfloat16", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(out: Path, folder: Path | None, count: int, backbone: str, dtype: str, seed: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%d %H:%M:%S")

    def author() -> SentenceAuthor:
        return LLMAuthor(registry.create("backbones", backbone, {"dtype": dtype}), names(folder) if folder else ())

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        log.info("complete: %d sentences in %s", fill(out, author, count, seed), out)
    except FobenchError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
