import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from fobench.api import registry
from fobench_plugins.suites.spoken_qa.questions import read_questions as benchmark
from reference_model.train.texts import llm_sentences, sentence_set
from reference_model.train.texts.llm_sentences import CollectedSentences, LLMAuthor
from reference_model.train.texts.prompt_patterns import EXAMPLES, PATTERNS
from tests.support import tiny_models

TOPICS = [f"T{''.join(random.Random(n).choices('aeioul', k=7))}" for n in range(600)]


class Author:
    """Says the same of every topic; every third sentence does not end. A kill comes at the batch `killed_at`."""

    pools = ((TOPICS, 0.75), (TOPICS[:200], 0.25))

    def __init__(self, killed_at: int = -1) -> None:
        self.killed_at = killed_at
        self.batches = 0

    def write(self, prompt: str, rows: Sequence[str], seed: int) -> list[str]:
        if self.batches == self.killed_at:
            raise KeyboardInterrupt
        self.batches += 1
        rng = random.Random(seed)
        return ["" if n % 3 == 2 else f" {said(row, rng)}" for n, row in enumerate(rows)]


def said(row: str, rng: random.Random) -> str:
    words = " ".join(rng.sample(["lamp", "river", "seldom", "again", "music", "north"], 4))
    return f"{words} {row.splitlines()[0].strip()} {'?' if 'Question' in row else '.'}"


def taken(path: Path) -> list[tuple[str, int]]:
    return [(line.text, line.batch) for line in llm_sentences.read(path)]


def test_the_file_grows_until_there_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    assert llm_sentences.fill(path, Author, 400, 0) == len(taken(path)) >= 400
    assert llm_sentences.fill(path, lambda: pytest.fail("nothing is left to write"), 400, 0) >= 400
    assert {found.source for found in sentence_set.read_llm_sentences(path)} == {sentence_set.WRITTEN}
    assert len(sentence_set.distinct(sentence_set.read_llm_sentences(path))) == len(taken(path))


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    llm_sentences.fill(whole, Author, 600, 0)
    with pytest.raises(KeyboardInterrupt):
        llm_sentences.fill(cut, lambda: Author(killed_at=2), 600, 0)
    cut.write_bytes(cut.read_bytes() + b'{"text": "half a li')
    llm_sentences.fill(cut, Author, 600, 0)
    assert taken(cut) == taken(whole)


def test_another_seed_writes_other_sentences(tmp_path: Path) -> None:
    llm_sentences.fill(tmp_path / "a", Author, 50, 0)
    llm_sentences.fill(tmp_path / "b", Author, 50, 1)
    assert taken(tmp_path / "a") != taken(tmp_path / "b")


@pytest.mark.parametrize(
    ("raw", "topic", "kind", "text"),
    [
        (" what is a gull", "gull", "question", None),
        (" what eats a gull?", "gull", "question", "What eats a gull?"),
        (' Is "gull" 1 bird or 2?', "gull", "question", "Is gull one bird or two?"),
        (" Gulls nap all day long.", "cats", "statement", "Gulls nap all day long."),
        (" Gulls nap all day long.", "Rome", "statement", None),
        (" Romeo naps all day long.", "Rome", "statement", "Romeo naps all day long."),
        (" Did Ann Leeds write it?", "The Leeds", "statement", "Did Ann Leeds write it?"),
        (" Gulls, do you nap?", "gulls", "talk", "Gulls, do you nap?"),
        (" Gull.", "gull", "talk", None),
        (f" The gull{' naps and' * 9} eats.", "gull", "talk", None),
        (" A gull is a gull is a gull.", "gull", "talk", None),
        (" The the gull naps.", "gull", "talk", None),
        (" The word gull is short.", "gull", "statement", None),
        (" Sure, a gull can fly.", "gull", "statement", None),
        (" - A gull can fly.", "gull", "statement", None),
        (" Gull: it can fly.", "gull", "statement", None),
        (" The gull flew.It came back.", "gull", "statement", None),
        (" The gull 飛 flew off.", "gull", "statement", None),
    ],
)
def test_only_plain_sentences_are_taken_and_a_name_must_be_in_them(
    raw: str, topic: str, kind: str, text: str | None
) -> None:
    found = llm_sentences.sentence(raw, topic, kind)
    assert (found and found.text) == text
    assert not found or found.kind == ("question" if found.text.endswith("?") and kind != "talk" else kind)


def test_repeats_and_the_benchmarks_questions_are_not_taken() -> None:
    collected = CollectedSentences()
    asked = next(iter(benchmark())).text
    assert not collected.add(asked, "x")
    assert [collected.add(text, "x") for text in ("It is late.", "It's late!", "They sleep.")] == [True, False, True]
    assert len(collected) == 2


def test_few_sentences_begin_alike_or_differ_in_their_topic_only() -> None:
    collected = CollectedSentences()
    assert sum(collected.add(f"The gulls of this town eat {name}.", "gulls") for name in TOPICS) == 4
    assert sum(collected.add(f"We saw {name}.", name) for name in TOPICS) == 4


def test_every_pattern_shows_different_examples_and_ends_at_the_topic() -> None:
    for pattern in PATTERNS:
        prompts = {pattern.prompt(random.Random(seed)) for seed in range(20)}
        assert len(prompts) > 10
        assert all(p.startswith(pattern.intro) and p.endswith("\n\nTopic:") for p in prompts)
        assert all(p.count(f"\n{pattern.label}: ") == EXAMPLES for p in prompts)
    assert sum(pattern.share for pattern in PATTERNS) == pytest.approx(1)


def test_the_examples_would_be_taken_themselves() -> None:
    for pattern in PATTERNS:
        for line in pattern.examples.strip().splitlines():
            topic, example = line.strip().split(": ", 1)
            assert llm_sentences.sentence(example, topic, pattern.kind), line


def test_rows_are_continued_each_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_sentences, "TOP_K", 1)
    made = registry.create("backbones", f"hf:{tiny_models.folder('smollm2')}", {"device": "cpu", "dtype": "float32"})
    author = LLMAuthor(made, ())
    author._ends = torch.arange(0, made.vocab_size, 9)
    rows = [f" row {n:03d}" for n in range(40)]
    together = author.write("We talked about", [*rows, " of another length"], 0)
    assert together == [*(author.write("We talked about", [row], 0)[0] for row in rows), ""]
    assert len(set(map(len, together))) > 4


def test_names_are_those_that_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "nq_open").mkdir()
    answers = ["Zoë Lee", "Lake Bled", "in 1990", "Apollo 11", "cheese", "Houston, Texas"]
    (tmp_path / "nq_open" / "a.jsonl").write_text(json.dumps({"question": "who", "answers": answers}))
    assert llm_sentences.topic_names(tmp_path) == ["Lake Bled", "Zoe Lee"]
