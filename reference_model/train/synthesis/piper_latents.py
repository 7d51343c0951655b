"""Training pairs for the codec: Piper's speech and the latents from which its generator synthesizes it.

    fobench train latents --plan runs/data/output --out runs/data/latents \\
        --hours 2
    fobench train latents --plan runs/data/output \\
        --replies runs/data/replies.jsonl --out runs/data/spoken --silent

Piper's ONNX graph is split at the input of its HiFi-GAN generator, whose weights initialize the codec's
(`piper_generator`). A safetensors file holds up to 200 pairs: `<n>.audio` int16 [T], `<n>.latents` float16 [192, T /
256], `<n>.durations` int16 [P], in latent frames per phoneme; the metadata holds texts and phonemes. `--silent` leaves
the audio out, which is four times faster, for output stage 2. A second run resumes after the last complete file.
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
from safetensors.torch import save_file
from torch import Tensor

from fobench import compute_threads
from fobench.assets import store
from fobench.atomic_files import atomic_path
from fobench.errors import FobenchError
from fobench.outside_files import read_json_lines
from reference_model.checkpoint import safetensors_io
from reference_model.codec.hifigan import PIPER_GENERATOR, Generator
from reference_model.train.engine.command import StageCommand
from reference_model.train.texts.sentence_casing import is_speakable, verbalize

ASSET, LATENT_NODE, AUDIO_NODE = "piper-joe-medium", "/Mul_7_output_0", "output"
DURATION_NODE = "/Ceil_output_0"  # latent frames of every phoneme id
NOISE, NOISE_W = 0.333, 0.0  # as in the renderings of the output set
PAIRS_PER_FILE = 200
LATENT_HZ = 22_050 / 256
FRAGMENT_SHARE = 0.2  # share of the longer texts that are shortened to a fragment
MAX_WORDS = 40


def piper_graph() -> Any:
    """Returns the ONNX model of the pinned Piper voice."""
    import onnx

    return onnx.load(str(_model_file()))


def piper_generator() -> Generator:
    """Returns the HiFi-GAN generator with the voice's weights. Raises FobenchError if they do not fit."""
    from onnx import numpy_helper

    generator = Generator(PIPER_GENERATOR)
    arrays = {i.name: numpy_helper.to_array(i) for i in piper_graph().graph.initializer}
    state = {map_key(key): torch.from_numpy(np.array(value)) for key, value in arrays.items() if key.startswith("dec.")}
    safetensors_io.fill(generator, state, ASSET)
    return generator


def map_key(key: str) -> str:
    """Returns the name in `Generator` of a parameter of Piper's generator."""
    parts = key.removeprefix("dec.").split(".")
    if parts[0] == "ups":
        return ".".join(["stages", parts[1], "up", parts[2]])
    if parts[0] == "resblocks":
        block, rest = int(parts[1]), parts[3:]
        return ".".join(["stages", str(block // 3), "blocks", str(block % 3), "dilated", *rest])
    return ".".join([parts[0].removeprefix("conv_"), parts[1]])


@dataclass(frozen=True, slots=True)
class VoicedText:
    """A synthesized text: audio int16 [T], or None, and latents float16 [192, F].

    `phonemes`: one character per phoneme; `durations` [P]: latent frames of each phoneme, F in total.
    """

    text: str
    audio: Tensor | None
    latents: Tensor
    phonemes: str = ""
    durations: Tensor | None = None


class LatentSpeaker:
    """The Piper voice with its latents as output.

    `silent`: without the generator; `noise`: Piper's noise_scale, 0 for none.
    """

    def __init__(self, threads: int, silent: bool, noise: float = NOISE) -> None:
        import onnx
        import onnxruntime
        import piper

        graph = piper_graph()
        if silent:
            graph = onnx.utils.Extractor(graph).extract_model(
                ["input", "input_lengths", "scales"], [LATENT_NODE, DURATION_NODE]
            )
        else:
            outputs = [
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
                for name in (LATENT_NODE, DURATION_NODE)
            ]
            graph.graph.output.extend(outputs)
        serialized = graph.SerializeToString()
        self._session = compute_threads.onnx_session(onnxruntime, serialized, threads)
        self._outputs = [LATENT_NODE, DURATION_NODE] if silent else [LATENT_NODE, DURATION_NODE, AUDIO_NODE]
        self._voice = piper.PiperVoice.load(_model_file())
        self._scales = np.array([noise, 1.0, NOISE_W], np.float32)

    def synthesize(self, text: str) -> VoicedText | None:
        """Returns the synthesized sentences of the text, concatenated, or None if the text has no phonemes."""
        phoneme_ids = self._voice.config.phoneme_id_map
        sentences = [[p for p in phonemes if p in phoneme_ids] for phonemes in self._voice.phonemize(text)]
        sentences = [phonemes for phonemes in sentences if phonemes]
        if not sentences:
            return None
        outputs = [self._run(phonemes) for phonemes in sentences]
        latents = torch.from_numpy(np.concatenate([output[0][0] for output in outputs], -1).astype(np.float16))
        durations = torch.cat([self._durations(p, output[1]) for p, output in zip(sentences, outputs, strict=True)])
        phonemes = "".join(p for sentence in sentences for p in sentence)
        audio = None
        if AUDIO_NODE in self._outputs:
            samples = np.concatenate([output[2].reshape(-1) for output in outputs]).clip(-1, 1)
            audio = torch.from_numpy((samples * 32767).astype(np.int16))
        return VoicedText(text, audio, latents, phonemes, durations)

    def _durations(self, phonemes: Sequence[str], frames: np.ndarray) -> Tensor:
        """Returns the latent frames of each phoneme, int16 [P].

        A pad counts to the phoneme before it; start and end marks count to the first and the last phoneme.
        """
        counts = [len(self._voice.config.phoneme_id_map[p]) + 1 for p in phonemes]
        counts[0] += 2  # the start mark and its pad
        counts[-1] += 1  # the end mark
        ends = np.cumsum(counts)
        sums = np.add.reduceat(frames.reshape(-1), np.concatenate([[0], ends[:-1]]))
        return torch.from_numpy(sums.astype(np.int16))

    def _run(self, phonemes: Sequence[str]) -> list[np.ndarray]:
        ids = np.array([self._voice.phonemes_to_ids(list(phonemes))], np.int64)
        lengths = np.array([ids.shape[1]], np.int64)
        outputs: list[np.ndarray] = self._session.run(
            self._outputs, {"input": ids, "input_lengths": lengths, "scales": self._scales}
        )
        return outputs


def write(path: Path, spoken: Sequence[VoicedText]) -> None:
    """Writes a file of pairs atomically."""
    tensors = {f"{i}.latents": one.latents for i, one in enumerate(spoken)}
    tensors |= {f"{i}.audio": one.audio for i, one in enumerate(spoken) if one.audio is not None}
    tensors |= {f"{i}.durations": one.durations for i, one in enumerate(spoken) if one.durations is not None}
    metadata = {"texts": [one.text for one in spoken], "phonemes": [one.phonemes for one in spoken]}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {key: json.dumps(value) for key, value in metadata.items()})


def read(folder: Path) -> Iterator[VoicedText]:
    """Yields every pair in the folder. Raises FobenchError if there is none."""
    paths = sorted(folder.glob("pairs-*.safetensors"))
    if not paths:
        raise FobenchError(f"{folder} holds no pairs-*.safetensors. Create them: fobench train latents --help")
    for path in paths:
        with safetensors_io.opened(path) as file:
            metadata, names = file.metadata(), set(file.keys())
            texts = json.loads(metadata["texts"])
            phonemes_by_text = json.loads(metadata.get("phonemes", json.dumps([""] * len(texts))))
            for i, (text, phonemes) in enumerate(zip(texts, phonemes_by_text, strict=True)):
                audio, durations = (
                    file.get_tensor(key) if key in names else None for key in (f"{i}.audio", f"{i}.durations")
                )
                yield VoicedText(text, audio, file.get_tensor(f"{i}.latents"), phonemes, durations)


def fragments(texts: Iterable[str], seed: int) -> Iterator[str]:
    """Yields the texts, some shortened after a comma or between two words, like the first segment of a reply."""
    rng = random.Random(seed)
    for text in texts:
        words = text.split()
        commas = [i + 1 for i, word in enumerate(words[:-1]) if word.endswith(",")]
        if len(words) > MAX_WORDS or (len(words) > 5 and rng.random() < FRAGMENT_SHARE):
            end = rng.choice(commas) if commas and rng.random() < 0.5 else rng.randrange(4, min(len(words), MAX_WORDS))
            yield " ".join(words[:end])
        else:
            yield text


def collect_texts(plan: Path, replies: Path | None, split: str, seed: int = 0) -> list[str]:
    """Returns the texts to synthesize: verbalized sentences of the replies and the plan's texts, in an order given by
    the seed.
    """
    rows = _json_lines(plan / "plan.jsonl")
    texts = [row["text"] for row in rows if row["split"] == split]
    lines = [row["reply"] for row in _json_lines(replies)] if replies else []
    sentences = [verbalize(sentence) for reply in lines for sentence in re.split(r"(?<=[.?!]) |\n", reply)]
    texts += [text for text in sentences if is_speakable(text)]
    random.Random(seed).shuffle(texts)
    return list(fragments(dict.fromkeys(texts), seed))


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """FobenchError for a file that cannot be read as JSON lines."""
    try:
        return [row for _, row in read_json_lines(path)]
    except (OSError, ValueError) as error:
        raise FobenchError(f"{path} cannot be read: {error}.") from error


def _model_file() -> Path:
    return next(store.get(ASSET).rglob("*.onnx"))


@click.command(cls=StageCommand, help=__doc__)
@click.option("--plan", type=Path, required=True, help="Folder of the set whose texts are synthesized.")
@click.option("--replies", type=Path, help="File of `fobench train replies`; its sentences are synthesized, too.")
@click.option("--split", default="train", show_default=True, help="Split of the plan.")
@click.option("--out", type=Path, required=True, help="Folder of the pairs.")
@click.option("--hours", type=click.FloatRange(0.001, 10_000), default=2.0, show_default=True, help="Hours of speech.")
@click.option("--silent", is_flag=True, help="Write latents without audio.")
@click.option("--noise", default=NOISE, show_default=True, help="Piper's noise_scale; 0 for deterministic speech.")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True)
def main(
    plan: Path, replies: Path | None, split: str, out: Path, hours: float, silent: bool, noise: float, threads: int
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    speaker = LatentSpeaker(threads, silent, noise)
    seconds = 0.0
    texts = collect_texts(plan, replies, split)
    for number in range(0, len(texts), PAIRS_PER_FILE):
        path = out / f"pairs-{number // PAIRS_PER_FILE:04d}.safetensors"
        if not path.exists():
            write(path, [one for text in texts[number : number + PAIRS_PER_FILE] if (one := speaker.synthesize(text))])
        with safetensors_io.opened(path) as file:
            seconds += sum(file.get_slice(k).get_shape()[1] for k in file.keys() if k.endswith(".latents")) / LATENT_HZ  # noqa: SIM118
        print(f"{number + PAIRS_PER_FILE} of {len(texts)} texts, {seconds / 3600:.2f} h", flush=True)
        if seconds > hours * 3600:
            return


if __name__ == "__main__":
    main()
