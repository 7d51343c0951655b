"""Decoding speed of a backbone by each engine, against the bound set by memory bandwidth and llama.cpp's own loop.

Run on an idle machine (three minutes per backbone): python -m tests.bench.decode_speed smollm2-135m qwen2.5-coder-0.5b -o FOLDER
It replaces these backbones' rows in decode-speed.json and rewrites decode-speed.md.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
import json
import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fobench.api import registry
from fobench.console import markdown_table
from fobench.errors import FobenchError
from fobench.storage import environment

FORMS = ("torch float32", "torch bfloat16", "llama.cpp", "llama.cpp raw loop")
PROMPT = [
    {"role": "system", "content": "You are a helpful voice assistant."},
    {"role": "user", "content": "Tell me a long story about a dog who lives near the sea."},
]
TOKENS, ROUNDS = 32, 4  # the first round warms up
PROMPTS = {"first_token_s": 40, "first_token_200_s": 200}  # tokens of a prompt whose first token is timed
READ = 1 << 28  # bytes, far beyond every cache
COLUMNS = ("backbone", "form", "threads", "tokens/s", "first token after 40 / 200, ms", "MB per token")
COLUMNS = (*COLUMNS, "bound, tokens/s", "of bound", "of raw loop")


def bandwidth() -> float:
    """Memory bandwidth in bytes/s: torch.sum over 256 MB of float32, best of seven."""
    numbers = torch.ones(READ // 4)

    def seconds() -> float:
        start = time.perf_counter()
        numbers.sum()
        return time.perf_counter() - start

    return READ / min(seconds() for _ in range(7))


def made(name: str, form: str, threads: int) -> Any:
    engine, _, dtype = form.partition(" ")
    options = {"dtype": dtype} if engine == "torch" else {"engine": "llamacpp"}
    return registry.create("backbones", name, {"device": "cpu", "threads": str(threads), **options})


def token_bytes(backbone: Any) -> int:
    """Of the weights that a token reads: every matrix once; of the embeddings a row, so nothing, unless they are the output too."""
    if hasattr(backbone, "weight_bytes"):
        return int(backbone.weight_bytes())
    embedding, output = backbone.model.get_input_embeddings().weight, backbone.model.get_output_embeddings().weight
    return sum(p.nbytes for p in backbone.model.parameters() if p is not embedding or p is output)


def gaps(backbone: Any) -> list[float]:
    """Seconds of each of `TOKENS` tokens of a reply after its first."""
    times = [time.perf_counter() for _ in backbone.stream(PROMPT, max_tokens=TOKENS + 1, seed=0)]
    if len(times) <= TOKENS:
        raise FobenchError(f"{backbone.name} ended after {len(times)} tokens: too short to be timed.")
    return [b - a for a, b in itertools.pairwise(times)][:TOKENS]


def prefill(backbone: Any, tokens: int) -> float:
    """Seconds from a prompt of so many tokens to the first token of the reply."""
    ids = backbone.encode("The dog ran along the beach and barked at every wave that came in. " * 20)[:tokens]
    start = time.perf_counter()
    backbone.step(backbone.embed(torch.tensor([ids])), logits=1)[1].argmax()
    return time.perf_counter() - start


class RawLoop:
    """llama.cpp as its own benchmark runs it: token ids in, no embeddings, hidden states, sampling or text.

    One sequence in a cache of its own, with the library's default settings, weights repacked for this CPU.
    """

    def __init__(self, backbone: Any) -> None:
        self._library, engine = backbone._engine._library, backbone._engine
        model = self._library.llama_model_default_params()
        self._model = self._library.llama_model_load_from_file(str(engine.path).encode(), model)
        params = self._library.llama_context_default_params()
        params.n_threads = params.n_threads_batch = engine.threads
        self._context = self._library.llama_init_from_model(self._model, params)
        self._ids, self._batch = backbone.chat(PROMPT), self._library.llama_batch()
        assert self._context
        weakref.finalize(self, _free, self._library, self._context, self._model)

    def gaps(self) -> list[float]:
        """As `gaps`, after the same prompt."""
        return list(itertools.islice(self.tokens(), TOKENS))

    def tokens(self) -> Iterator[float]:
        """Seconds of each token after the prompt and a first one."""
        self._library.llama_memory_seq_rm(self._library.llama_get_memory(self._context), 0, -1, -1)
        self._decode(self._ids)
        self._decode(self._ids[:1])
        for number in itertools.cycle(self._ids):
            start = time.perf_counter()
            yield self._decode([number]) - start

    def share(self, backbone: Any) -> float:
        """The backbone's speed over this loop's, token by token in turns: a machine's speed changes within a second."""
        ours, raw = [], []
        for _ in range(ROUNDS):
            pieces, tokens = backbone.stream(PROMPT, max_tokens=TOKENS + 1, seed=0), self.tokens()
            next(pieces)
            for _ in range(TOKENS):
                start = time.perf_counter()
                next(pieces)
                ours.append(time.perf_counter() - start)
                raw.append(next(tokens))
        return statistics.median(raw[TOKENS:]) / statistics.median(ours[TOKENS:])

    def _decode(self, ids: Sequence[int]) -> float:
        """Feeds token ids; returns the time when their logits were there."""
        array = (ctypes.c_int32 * len(ids))(*ids)  # positions, sequence and outputs are the library's defaults
        self._batch.n_tokens, self._batch.token = len(ids), ctypes.cast(array, ctypes.POINTER(ctypes.c_int32))
        if code := self._library.llama_decode(self._context, self._batch):
            raise FobenchError(f"llama_decode failed (code {code}).")
        self._library.llama_get_logits(self._context)
        return time.perf_counter()


def _free(library: Any, context: Any, model: Any) -> None:
    library.llama_free(context)
    library.llama_model_free(model)


def rows(name: str, forms: Sequence[str], read: Mapping[int, float], rounds: int = ROUNDS) -> Iterator[dict[str, Any]]:
    """A row for each form and number of threads; the forms take turns in each round, so that they see the same machine.

    `read`: {threads: memory bandwidth in bytes/s}.
    """
    for count, speed_of_memory in read.items():
        backbones = {form: made(name, form, count) for form in forms if form != "llama.cpp raw loop"}
        decoders: dict[str, Callable[[], list[float]]] = {
            form: lambda backbone=backbone: gaps(backbone) for form, backbone in backbones.items()
        }
        if "llama.cpp raw loop" in forms:
            source = backbones.get("llama.cpp") or made(name, "llama.cpp", count)
            raw = RawLoop(source)
            decoders["llama.cpp raw loop"] = raw.gaps
        each: dict[str, list[float]] = {form: [] for form in forms}
        firsts: dict[tuple[str, str], list[float]] = {}
        for number in range(rounds):
            for form in forms:
                torch.set_num_threads(count)
                times = decoders[form]()
                each[form] += times if number else ()
                for key, tokens in PROMPTS.items() if form in backbones else ():
                    firsts.setdefault((form, key), []).append(prefill(backbones[form], tokens))
        size = {form: token_bytes(backbone) for form, backbone in backbones.items()}
        speeds = {form: 1 / statistics.median(times) for form, times in each.items()}
        for form in forms:
            row = {"backbone": name, "form": form, "threads": count, "tokens_per_s": speeds[form]}
            row |= {key: statistics.median(times[1:]) for (of, key), times in firsts.items() if of == form}
            if form in size:
                bound = speed_of_memory / size[form]
                row |= {"bytes_per_token": size[form], "bound_tokens_per_s": bound, "share": speeds[form] / bound}
            if form == "llama.cpp" and "llama.cpp raw loop" in forms:
                row["share_of_raw_loop"] = raw.share(backbones[form])
            yield row
        del backbones, decoders
        gc.collect()


def page(record: dict[str, Any]) -> str:
    """decode-speed.md"""

    def shown(row: dict[str, Any], key: str, form: str, factor: float = 1) -> str:
        return format(factor * row[key], form) if key in row else ""

    table = [
        (
            row["backbone"],
            row["form"],
            str(row["threads"]),
            f"{row['tokens_per_s']:.1f}",
            " / ".join(shown(row, key, ".0f", 1000) for key in PROMPTS if key in row),
            shown(row, "bytes_per_token", ".0f", 1e-6),
            shown(row, "bound_tokens_per_s", ".1f"),
            shown(row, "share", ".0%"),
            shown(row, "share_of_raw_loop", ".0%"),
        )
        for row in record["rows"]
    ]
    read = ", ".join(f"{float(speed) / 1e9:.1f} GB/s with {n}" for n, speed in record["bandwidth"].items())
    told = [
        f"Memory bandwidth by `torch.sum` over 256 MB of float32, best of seven, by threads: {read}. The bound is the bandwidth over",
        "the bytes of the weights that a token reads, without the KV cache. Greedy decoding after one prompt, median of 32 tokens and",
        "the rounds after a warm-up, in which the forms take turns; a first token comes after a prompt of 40 or 200 tokens that is",
        "computed in one step. llama.cpp decodes from the GGUF file's own quantization; its raw loop feeds token ids to `llama_decode`,",
        "with that library's default settings, and takes nothing out but the logits; the share is of tokens that take turns.",
        "",
        f"Machine: {record['machine'].get('cpu', '?')}, {record['machine'].get('cores', '?')} cores. Command: "
        "`python -m tests.bench.decode_speed smollm2-135m qwen2.5-coder-0.5b -o FOLDER`",
    ]
    return "\n".join(["# Decode speed", "", *markdown_table(COLUMNS, table), "", *told, ""])


def write(folder: Path, kept: Sequence[dict[str, Any]], read: Mapping[int, float]) -> str:
    about = {"machine": environment.about(), "packages": environment.packages(), "git": environment.git()}
    record = {"version": 1, "bandwidth": read, "prompt": PROMPT, "rows": kept, **about}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decode-speed.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "decode-speed.md").write_text(page(record))
    return page(record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbones", nargs="+")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=FORMS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="the first one warms up")
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    path = asked.output / "decode-speed.json"
    kept = json.loads(path.read_text())["rows"] if path.exists() else []
    read = {}
    for count in asked.threads:
        torch.set_num_threads(count)
        read[count] = bandwidth()
    for name in asked.backbones:
        for row in rows(name, asked.forms, read, asked.rounds):
            same = [row[key] for key in ("backbone", "form", "threads")]
            kept = [old for old in kept if [old[key] for key in ("backbone", "form", "threads")] != same] + [row]
            write(asked.output, kept, read)
    print(write(asked.output, kept, read))


if __name__ == "__main__":
    main()
