"""Decoding speed of a backbone in every number format, against the bound set by memory bandwidth.

Run on an idle machine (five minutes per backbone): python tests/bench/decode_speed.py smollm2-135m qwen2.5-coder-0.5b -o reports/decode-speed
It replaces these backbones' rows in decode-speed.json and rewrites decode-speed.md.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fobench.api import registry
from fobench.console import markdown_table
from fobench.errors import FobenchError
from fobench.storage import environment

FORMS = ("transformers", "float32", "bfloat16", "int8", "int4", "mixed", "llama.cpp")
PROMPT = [
    {"role": "system", "content": "You are a helpful voice assistant."},
    {"role": "user", "content": "Tell me a long story about a dog who lives near the sea."},
]
TOKENS, ROUNDS = 32, 3  # the first round warms up
READ = 1 << 28  # bytes, far beyond every cache
COLUMNS = ("backbone", "form", "threads", "tokens/s", "TTFT, ms", "MB per token", "bound, tokens/s", "of bound")


def bandwidth() -> float:
    """Memory bandwidth in bytes/s: torch.sum over 256 MB of float32, best of seven."""
    numbers = torch.ones(READ // 4)

    def seconds() -> float:
        start = time.perf_counter()
        numbers.sum()
        return time.perf_counter() - start

    return READ / min(seconds() for _ in range(7))


def made(name: str, form: str, threads: int) -> Any:
    if form == "llama.cpp":
        return registry.create("backbones", f"llamacpp:{name}", {"threads": str(threads)})
    dtype = "float32" if form == "transformers" else form
    backbone = registry.create("backbones", name, {"device": "cpu", "dtype": dtype})
    if form == "transformers":
        backbone.packed = None
    return backbone


def token_bytes(backbone: Any) -> int:
    """Of the weights that a token reads: every matrix once; of the embeddings a row, so nothing, unless they are the output too."""
    if hasattr(backbone, "weight_bytes"):
        return int(backbone.weight_bytes())
    if backbone.packed is None:
        used = {id(p): p for p in backbone.model.parameters() if p is not backbone.model.get_input_embeddings().weight}
        used[0] = backbone.model.get_output_embeddings().weight
        return sum(p.numel() * p.element_size() for p in {p.data_ptr(): p for p in used.values()}.values())
    matrices = [m for layer in backbone.packed.layers for m in (layer.qkv, layer.out, layer.gate_up, layer.down)]
    return sum(matrix.bytes_per_step for matrix in (*matrices, backbone.packed.output))


def measure(backbone: Any) -> tuple[float, float]:
    """Tokens per second and TTFT in seconds; medians over all rounds but the first."""
    firsts, each = [], []
    for _ in range(ROUNDS):
        times = [time.perf_counter()]
        for _ in backbone.stream(PROMPT, max_tokens=TOKENS + 1, seed=0):
            times.append(time.perf_counter())
        gaps = [b - a for a, b in itertools.pairwise(times)][: TOKENS + 1]
        if len(gaps) <= TOKENS:
            raise FobenchError(f"{backbone.name} ended after {len(gaps)} tokens: too short to be timed.")
        firsts.append(gaps[0])
        each.append(statistics.median(gaps[1:]))
    return 1 / statistics.median(each[1:]), statistics.median(firsts[1:])


def rows(name: str, forms: Sequence[str], read: Mapping[int, float]) -> Iterator[dict[str, Any]]:
    for form in forms:
        for count, speed_of_memory in read.items():
            torch.set_num_threads(count)
            backbone = made(name, form, count)
            speed, first = measure(backbone)
            size = token_bytes(backbone)
            bound = speed_of_memory / size
            row = {"backbone": name, "form": form, "threads": count, "tokens_per_s": speed, "first_token_s": first}
            yield {**row, "bytes_per_token": size, "bound_tokens_per_s": bound, "share": speed / bound}
            del backbone
            gc.collect()


def page(record: dict[str, Any]) -> str:
    """decode-speed.md"""
    table = [
        (
            row["backbone"],
            row["form"],
            str(row["threads"]),
            f"{row['tokens_per_s']:.1f}",
            f"{1000 * row['first_token_s']:.0f}",
            f"{row['bytes_per_token'] / 1e6:.0f}",
            f"{row['bound_tokens_per_s']:.1f}",
            f"{100 * row['share']:.0f} %",
        )
        for row in record["rows"]
    ]
    read = ", ".join(f"{float(speed) / 1e9:.1f} GB/s with {n}" for n, speed in record["bandwidth"].items())
    told = [
        f"Memory bandwidth by `torch.sum` over 256 MB of float32, best of seven, by threads: {read}. The bound is the bandwidth over",
        "the bytes of the weights that a token reads, without the KV cache. Greedy decoding, one prompt, median of 32 tokens and two rounds",
        "after a warm-up; TTFT is the prefill of the prompt and one token. `transformers` is that library's forward pass in float32, the others",
        "are fobench's; `int8` is lossy, `int4` stores in 4 bits what they hold without loss, the rest in bfloat16.",
        "`mixed` prefills in float32 and decodes from float16. llama.cpp decodes from the GGUF file's own quantization.",
        "",
        f"Machine: {record['machine'].get('cpu', '?')}, {record['machine'].get('cores', '?')} cores. Command: "
        "`python tests/bench/decode_speed.py smollm2-135m qwen2.5-coder-0.5b -o reports/decode-speed`",
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
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    path = asked.output / "decode-speed.json"
    kept = json.loads(path.read_text())["rows"] if path.exists() else []
    read = {}
    for count in asked.threads:
        torch.set_num_threads(count)
        read[count] = bandwidth()
    for name in asked.backbones:
        for row in rows(name, asked.forms, read):
            same = [row[key] for key in ("backbone", "form", "threads")]
            kept = [old for old in kept if [old[key] for key in ("backbone", "form", "threads")] != same] + [row]
            write(asked.output, kept, read)
    print(write(asked.output, kept, read))


if __name__ == "__main__":
    main()
