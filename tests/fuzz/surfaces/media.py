"""Audio files, weights, data sets and chat templates, as bytes."""

from __future__ import annotations

import io
import struct
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.case import Case, Expected, Nonsense, Surface
from tests.fuzz.mutations import noisy

RATE_HZ = 16_000
files: dict[str, bytes] = {}  # what inputs are mutated from
TEMPLATES = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}", "{{ messages[0]['content'] }}", "{{ messages }}",
    "{% if messages[0]['role'] != 'user' %}{{ raise_exception('no') }}{% endif %}", "{{ raise_exception(messages) }}", "{{ 1 / 0 }}",
    "{{ messages[99]['content'] }}", "{{ nothing.at.all }}", "{{ ''.__class__.__mro__ }}", "{% for i in range(10**9) %}a{% endfor %}",
    "{{ 'a' * 10**10 }}", "{{ 9**9**9 }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{% include 'x' %}", "{{", "{% for %}", "", " ",
    "{{ messages | tojson }}", "{{ strftime_now('%Y') }}", "{{ 'a' | nofilter }}", "{{ messages[0].content.encode('x') }}", "{{ int('x') }}",
    "{{ '%d' % 'x' }}", "{{ [][0] }}", "{{ {}['a'] }}", "{{ none.x }}", "{{ messages[0]['content'] + 1 }}", "{{ 'x'.format(**messages) }}", "\0", "é🙂",
)  # fmt: skip


def prepare(folder: Path) -> None:
    """One file of each format."""
    import soundfile
    import torch
    from safetensors.numpy import save

    samples = np.sin(np.arange(RATE_HZ // 4) / 9).astype(np.float32) / 2
    for name, kind, subtype in (
        *(
            ("a.wav", "WAV", "PCM_16"),
            ("f.wav", "WAV", "FLOAT"),
            ("a.flac", "FLAC", "PCM_16"),
            ("a.ogg", "OGG", "VORBIS"),
        ),
        *(("a.aiff", "AIFF", "PCM_16"), ("a.au", "AU", "PCM_16")),
    ):
        file = io.BytesIO()
        soundfile.write(file, samples, RATE_HZ, format=kind, subtype=subtype)
        files[name] = file.getvalue()
    files["a.safetensors"] = save(
        {"w": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float16)}, {"config": '{"size": 3}'}
    )
    files["a.gguf"] = _gguf(folder)
    torch.set_num_threads(1)
    _tokenizer()


def _gguf(folder: Path) -> bytes:
    from gguf import GGUFWriter

    path = folder / "a.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_chat_template(TEMPLATES[0])
    writer.add_context_length(64)
    writer.add_tensor("w", np.ones((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def _mutated(rng: Random, name: str) -> tuple[bytes, Expected, str]:
    content = files[name]
    kind = rng.randrange(8)
    if kind == 0:
        return content[: rng.randrange(min(40, len(content)))], "refused", "only its beginning"
    if kind == 1:
        return (
            rng.choice(
                (b"", b"\0" * 5000, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", b"<html>")
            ),
            "refused",
            "another file",
        )
    if kind == 2:
        return content, "accepted", "as it is"
    if kind == 3:  # a field of the header at its limits
        place = rng.randrange(min(len(content) - 8, 120))
        field = struct.pack(rng.choice("<>") + rng.choice("IQH"), rng.choice((0, 1, 0xFFFF)))
        return content[:place] + field + content[place + len(field) :], "either", f"a field at {place}"
    return noisy(rng, content, 12), "either", "noise"


def sound(rng: Random, folder: Path) -> Case:
    from fobench import audio

    name = rng.choice(
        [each for each in files if each.startswith(("a.", "f.")) and not each.endswith(("safetensors", "gguf"))]
    )
    content, expected, about = _mutated(rng, name)
    path = folder / name
    path.write_bytes(content)

    def read() -> None:
        chunk = audio.load(path)
        if not np.isfinite(chunk.samples).all() or not 0 < chunk.rate_hz < 10**7 or chunk.samples.ndim != 1:
            raise Nonsense(f"{chunk.samples.shape} at {chunk.rate_hz} Hz")
        if not np.isfinite(audio.load(path, RATE_HZ).samples).all():
            raise Nonsense("resampled to what is no number")

    return Case(read, f"{name}: {about}", expected, {name: content})


def safetensors(rng: Random, folder: Path) -> Case:
    from fobench.assets import weight_files
    from reference_model.checkpoint import safetensors_io

    content, expected, about = _mutated(rng, "a.safetensors")
    path = folder / "a.safetensors"
    path.write_bytes(content)

    def read() -> None:
        header = weight_files.safetensors_header(path)
        config, tensors = safetensors_io.load(path)
        if set(header) != set(tensors) or not isinstance(config, dict):
            raise Nonsense(f"{header} {config}")

    return Case(read, about, expected, {"a.safetensors": content})


def gguf(rng: Random, folder: Path) -> Case:
    from fobench_plugins.backbones import gguf_file

    content, expected, about = _mutated(rng, "a.gguf")
    path = folder / "a.gguf"
    path.write_bytes(content)
    return Case(lambda: gguf_file.read(path), about, expected, {"a.gguf": content})


def chat_template(rng: Random, folder: Path) -> Case:
    template = rng.choice(TEMPLATES)
    if rng.random() < 0.4:
        template = noisy(rng, rng.choice(TEMPLATES).encode(), 3).decode(errors="replace")
    return Case(lambda: _chat(template), repr(template)[:100], "either", {"template.txt": template.encode()})


def _chat(template: str) -> None:
    from fobench_plugins.backbones.chat_template import ChatTemplate

    class Text(ChatTemplate):
        name, context, end_ids, num_embeddings = "fuzz", 64, frozenset(), 100

        def embed(self, ids: Any) -> Any:
            return ids

        def step(self, x: Any, state: Any = None, *, logits: int | None = None) -> Any:
            return x, x, state

        def fork(self, state: Any) -> Any:
            return state

    text = Text()
    text.tokenizer = _tokenizer()
    text.tokenizer.chat_template = template
    text.check_chat()


@cache
def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "Hello": 1, ".": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")


def parquet(rng: Random, folder: Path) -> Case:
    """A file of a data set of the hub; what is not damaged is read by the suite."""
    from fobench.api import registry

    columns = {
        "question": ["Who?", "What?"],
        "answer": ["Anna", "['a', 'b']"],
        "audio": [files["a.wav"], files["a.wav"]],
    }
    odd: tuple[Any, ...] = (
        None,
        "",
        "[" * 20_000,
        "['a'",
        "{}",
        "\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
        "9" * 5000,
    )
    if rng.random() < 0.5:
        columns["answer"][0] = rng.choice(odd)
    else:
        columns["audio"][0] = rng.choice((b"", b"RIFF", noisy(rng, files["a.wav"])))
    content = _table(columns)
    about = f"answer {columns['answer'][0]!r:.30}, {len(columns['audio'][0])} bytes of audio"
    if rng.random() < 0.4:
        content, about = noisy(rng, content), "noise"
    (folder / "set").mkdir()
    path = folder / "set" / "test-00000-of-00001.parquet"
    path.write_bytes(content)

    def read() -> None:
        suite = registry.create("suites", f"hub:{path.parent}", {})
        for scenario in suite.scenarios(0):
            if not scenario.turns:
                raise Nonsense("a scenario without a turn")

    return Case(read, about, "either", {path.name: content})


def _table(columns: dict[str, Any]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


SURFACES = (
    Surface("sound", sound, weight=14),
    Surface("safetensors", safetensors),
    Surface("gguf", gguf, weight=8),
    Surface("chat-template", chat_template, weight=3),
    Surface("parquet", parquet, weight=1, limit_s=60),
)
