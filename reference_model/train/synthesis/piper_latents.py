"""Pairs to train the codec on: Piper's speech, and the latents that its own generator made it from.

    python -m reference_model.train.synthesis.piper_latents --plan runs/data/output --out runs/data/latents --hours 2
    python -m reference_model.train.synthesis.piper_latents --plan runs/data/output --replies runs/data/replies.jsonl --out runs/data/spoken --silent

Piper's graph is cut at the input of its HiFi-GAN generator, whose weights become our codec's (`piper_generator`). One
safetensors file holds some hundred pairs: `<n>.audio` int16 [T], `<n>.latents` float16 [192, T / 256], `<n>.durations` int16
[P] of the phonemes that were said, in latents; its metadata, their texts and phonemes. `--silent`: without audio, four times
faster, for output stage 2. A killed run goes on after its last file.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fobench.assets import store
from fobench.errors import FobenchError
from reference_model.codec.hifigan import PIPER_GENERATOR, Generator
from reference_model.train.texts.sentence_casing import is_speakable, spelt

ASSET, CUT, OUTPUT = "piper-joe-medium", "/Mul_7_output_0", "output"
FRAMES = "/Ceil_output_0"  # of every id
NOISE, NOISE_W = 0.333, 0.0  # as the replies' speech is rendered
FILE = 200  # pairs
LATENT_HZ = 22_050 / 256
CUT_OFF = 0.2  # share of the longer texts that only their beginning is said of
MOST_WORDS = 40


def piper_graph() -> Any:
    """The ONNX model of the pinned Piper voice."""
    import onnx

    return onnx.load(str(_model_file()))


def piper_generator() -> Generator:
    """Our generator with the voice's weights."""
    from onnx import numpy_helper

    generator = Generator(PIPER_GENERATOR)
    arrays = {i.name: numpy_helper.to_array(i) for i in piper_graph().graph.initializer}
    state = {renamed(key): torch.from_numpy(np.array(value)) for key, value in arrays.items() if key.startswith("dec.")}
    missing = generator.state_dict().keys() ^ state.keys()
    if missing:
        raise FobenchError(f"{ASSET} holds another generator than ours: {', '.join(sorted(missing)[:4])}")
    generator.load_state_dict(state)
    return generator


def renamed(key: str) -> str:
    """Piper's name of a parameter of its generator -> ours."""
    parts = key.removeprefix("dec.").split(".")
    if parts[0] == "ups":
        return ".".join(["stages", parts[1], "up", parts[2]])
    if parts[0] == "resblocks":
        block, rest = int(parts[1]), parts[3:]
        return ".".join(["stages", str(block // 3), "blocks", str(block % 3), "dilated", *rest])
    return ".".join([parts[0].removeprefix("conv_"), parts[1]])


@dataclass(frozen=True, slots=True)
class VoicedText:
    """A text as the voice says it: audio int16 [T], or None, and latents float16 [192, F].

    `phonemes`: what is said, a character each; `durations` [P]: how many latents each lasts, F together.
    """

    text: str
    audio: Tensor | None
    latents: Tensor
    phonemes: str = ""
    durations: Tensor | None = None


class LatentSpeaker:
    """The voice with its graph cut open. `silent`: the generator is not run; `noise`: how much it varies, not at all with 0."""

    def __init__(self, threads: int, silent: bool, noise: float = NOISE) -> None:
        import onnx
        import onnxruntime
        import piper

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = piper_graph()
        if silent:
            graph = onnx.utils.Extractor(graph).extract_model(["input", "input_lengths", "scales"], [CUT, FRAMES])
        else:
            told = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in (CUT, FRAMES)]
            graph.graph.output.extend(told)
        serialized = graph.SerializeToString()
        self._session = onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
        self._outputs = [CUT, FRAMES] if silent else [CUT, FRAMES, OUTPUT]
        self._voice = piper.PiperVoice.load(_model_file())
        self._scales = np.array([noise, 1.0, NOISE_W], np.float32)

    def say(self, text: str) -> VoicedText | None:
        """The text's sentences one after the other; None where there is nothing to say."""
        known = self._voice.config.phoneme_id_map
        sentences = [[p for p in phonemes if p in known] for phonemes in self._voice.phonemize(text)]
        sentences = [phonemes for phonemes in sentences if phonemes]
        if not sentences:
            return None
        found = [self._run(phonemes) for phonemes in sentences]
        latents = torch.from_numpy(np.concatenate([one[0][0] for one in found], -1).astype(np.float16))
        durations = torch.cat([self._durations(p, one[1]) for p, one in zip(sentences, found, strict=True)])
        phonemes = "".join(p for sentence in sentences for p in sentence)
        audio = None
        if OUTPUT in self._outputs:
            samples = np.concatenate([one[2].reshape(-1) for one in found]).clip(-1, 1)
            audio = torch.from_numpy((samples * 32767).astype(np.int16))
        return VoicedText(text, audio, latents, phonemes, durations)

    def _durations(self, phonemes: Sequence[str], frames: np.ndarray) -> Tensor:
        """Latents of each phoneme, int16 [P]: the pads after it are its own, what begins and ends the sentence the outermost's."""
        counts = [len(self._voice.config.phoneme_id_map[p]) + 1 for p in phonemes]
        counts[0] += 2  # the start and its pad
        counts[-1] += 1  # the end
        ends = np.cumsum(counts)
        sums = np.add.reduceat(frames.reshape(-1), np.concatenate([[0], ends[:-1]]))
        return torch.from_numpy(sums.astype(np.int16))

    def _run(self, phonemes: Sequence[str]) -> list[np.ndarray]:
        ids = np.array([self._voice.phonemes_to_ids(list(phonemes))], np.int64)
        lengths = np.array([ids.shape[1]], np.int64)
        found: list[np.ndarray] = self._session.run(
            self._outputs, {"input": ids, "input_lengths": lengths, "scales": self._scales}
        )
        return found


def write(path: Path, spoken: Sequence[VoicedText]) -> None:
    """A file of pairs, whole or not at all."""
    held = {f"{i}.latents": one.latents for i, one in enumerate(spoken)}
    held |= {f"{i}.audio": one.audio for i, one in enumerate(spoken) if one.audio is not None}
    held |= {f"{i}.durations": one.durations for i, one in enumerate(spoken) if one.durations is not None}
    temporary = path.with_name(f".{path.name}")
    told = {"texts": [one.text for one in spoken], "phonemes": [one.phonemes for one in spoken]}
    save_file(held, temporary, {key: json.dumps(value) for key, value in told.items()})
    temporary.replace(path)


def read(folder: Path) -> Iterator[VoicedText]:
    """Every pair in the folder. FobenchError where there is none."""
    paths = sorted(folder.glob("pairs-*.safetensors"))
    if not paths:
        raise FobenchError(
            f"{folder} holds no pairs-*.safetensors. Make them: python -m reference_model.train.synthesis.piper_latents --help"
        )
    for path in paths:
        with safe_open(path, "pt") as file:
            told, names = file.metadata(), set(file.keys())
            texts = json.loads(told["texts"])
            phonemes = json.loads(told.get("phonemes", json.dumps([""] * len(texts))))
            for i, (text, said) in enumerate(zip(texts, phonemes, strict=True)):
                audio, durations = (
                    file.get_tensor(key) if key in names else None for key in (f"{i}.audio", f"{i}.durations")
                )
                yield VoicedText(text, audio, file.get_tensor(f"{i}.latents"), said, durations)


def fragments(texts: Iterable[str], seed: int) -> Iterator[str]:
    """The texts, some of them cut off after a comma or between two words, as the first segment of a reply may be."""
    rng = random.Random(seed)
    for text in texts:
        words = text.split()
        commas = [i + 1 for i, word in enumerate(words[:-1]) if word.endswith(",")]
        if len(words) > MOST_WORDS or (len(words) > 5 and rng.random() < CUT_OFF):
            end = rng.choice(commas) if commas and rng.random() < 0.5 else rng.randrange(4, min(len(words), MOST_WORDS))
            yield " ".join(words[:end])
        else:
            yield text


def texts_of(plan: Path, replies: Path | None, split: str, seed: int = 0) -> list[str]:
    """What is to be said: the replies' sentences, spelt out, and the plan's texts, in an order that the seed fixes."""
    rows = [json.loads(line) for line in (plan / "plan.jsonl").read_text().splitlines()]
    texts = [row["text"] for row in rows if row["split"] == split]
    lines = [json.loads(line)["reply"] for line in replies.read_text().splitlines()] if replies else []
    said = [spelt(sentence) for reply in lines for sentence in re.split(r"(?<=[.?!]) |\n", reply)]
    texts += [text for text in said if is_speakable(text)]
    random.Random(seed).shuffle(texts)
    return list(fragments(dict.fromkeys(texts), seed))


def _model_file() -> Path:
    return next(store.get(ASSET).rglob("*.onnx"))


@click.command(help=__doc__)
@click.option("--plan", type=Path, required=True, help="Folder of the set whose texts are spoken.")
@click.option("--replies", type=Path, help="Lines of train.replies: their sentences are spoken, too.")
@click.option("--split", default="train", show_default=True)
@click.option("--out", type=Path, required=True)
@click.option("--hours", default=2.0, show_default=True)
@click.option("--silent", is_flag=True)
@click.option("--noise", default=NOISE, show_default=True, help="How much the voice varies, not at all with 0.")
@click.option("--threads", default=1, show_default=True)
def main(
    plan: Path, replies: Path | None, split: str, out: Path, hours: float, silent: bool, noise: float, threads: int
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    speaker = LatentSpeaker(threads, silent, noise)
    seconds = 0.0
    texts = texts_of(plan, replies, split)
    for number in range(0, len(texts), FILE):
        path = out / f"pairs-{number // FILE:04d}.safetensors"
        if not path.exists():
            write(path, [one for text in texts[number : number + FILE] if (one := speaker.say(text))])
        with safe_open(path, "pt") as file:
            seconds += sum(file.get_slice(k).get_shape()[1] for k in file.keys() if k.endswith(".latents")) / LATENT_HZ  # noqa: SIM118
        print(f"{number + FILE} of {len(texts)} texts, {seconds / 3600:.2f} h", flush=True)
        if seconds > hours * 3600:
            return


if __name__ == "__main__":
    main()
