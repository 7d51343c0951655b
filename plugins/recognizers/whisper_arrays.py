"""Whisper in numpy: the reference ASR where torch is not installed. The weights and the greedy decoding of OpenAI's package."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fobench.api.types import NS_PER_S, AudioChunk, Samples, Transcript
from fobench.assets import ctranslate2
from fobench.audio import audible_bounds, frame_levels, resample
from fobench.errors import FobenchError

RATE_HZ = 16_000  # of Whisper's input
WINDOW_S = 30  # Whisper's input window
WINDOW = WINDOW_S * RATE_HZ
FFT, HOP = 400, 160  # samples of a frame, and between frames
DYNAMIC_RANGE = 8.0  # of the log10 spectrogram below its maximum
END, START, NO_TIMESTAMPS = 50_256, 50_257, 50_362  # tokens of the English models
ENGLISH_TOKENS = 51_864
MOST_TOKENS = 224  # of a window, as in OpenAI's code
CUT_S = 10.0  # longer audio is cut in the quietest place of a window's last 10 s
CUT_NS = 300_000_000  # whose level is that of so much audio
EPSILON = 1e-5  # of the layer norms
ERF = (
    0.254829592,
    -0.284496736,
    1.421413741,
    -1.453152027,
    1.061405429,
)  # Abramowitz and Stegun 7.1.26, error < 1.5e-7
Array = npt.NDArray[np.float32]


class ArrayWhisper:
    """An English Whisper model in CTranslate2's format, computed in float32; greedy, temperature 0 without fallback.

    `transcribe` gives an empty transcript for inaudible audio, where Whisper hallucinates. Audio of more than 30 s is
    transcribed in pieces that end in the quietest place of each window's last 10 s.
    """

    def __init__(self, folder: Path, *, name: str) -> None:
        """`folder`: with model.bin, config.json and vocabulary.txt. Raises FobenchError for another than an English Whisper."""
        state = ctranslate2.whisper_state(ctranslate2.read(folder / "model.bin"))
        self._state = {key: np.ascontiguousarray(array, np.float32) for key, array in state.items()}
        self._sizes = ctranslate2.dimensions(state)
        if self._sizes["n_vocab"] != ENGLISH_TOKENS:
            raise FobenchError(
                f"{name} is no English Whisper: {self._sizes['n_vocab']:,} tokens, not {ENGLISH_TOKENS:,}."
            )
        config = json.loads((folder / "config.json").read_text())
        self._suppressed = np.array(config["suppress_ids"])
        self._suppressed_first = np.array(config["suppress_ids_begin"])
        self._vocabulary = (folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
        self._filters = mel_filters(self._sizes["n_mels"])
        self._about = {"recognizer": f"whisper {name}", "model": f"whisper {name}", "engine": "numpy", "device": "cpu"}
        self._options = {"language": "en", "beam_size": None, "fp16": False}

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {**self._about, **self._options}

    def transcribe(self, audio: AudioChunk) -> Transcript:
        """The transcript of a clip, without the times of words."""
        if audible_bounds(audio.samples, audio.rate_hz) is None:
            return Transcript("")
        samples = np.ascontiguousarray(resample(audio, RATE_HZ).samples, dtype=np.float32)
        pieces = [self._transcribe_window(piece) for piece in cut_long(samples)]
        return Transcript(" ".join(filter(None, pieces)))

    def _transcribe_window(self, samples: Samples) -> str:
        """The text of samples [T] of at most 30 s."""
        if audible_bounds(samples, RATE_HZ) is None:
            return ""
        heard = self._encode(log_mel(samples, self._filters))
        decoder = _Decoder(self._state, self._sizes["n_text_layer"], heard)
        decoder.step(START)
        token, tokens = NO_TIMESTAMPS, list[int]()
        while len(tokens) < MOST_TOKENS:
            scores = decoder.step(token)
            scores[self._suppressed] = -np.inf
            if not tokens:
                scores[self._suppressed_first] = -np.inf
            if (token := int(scores.argmax())) == END:
                break
            tokens.append(token)
        return self._text(tokens).strip()

    def _text(self, tokens: list[int]) -> str:
        written = "".join(self._vocabulary[token] for token in tokens if token < END)
        return bytes(byte_values()[sign] for sign in written).decode(errors="replace")

    def _encode(self, mel: Array) -> Array:
        """Log-mel frames [3000, mels] -> the encoder's output [1500, width]."""
        state = self._state
        x = _gelu(_convolve(mel, state["encoder.conv1.weight"], state["encoder.conv1.bias"], 1))
        x = _gelu(_convolve(x, state["encoder.conv2.weight"], state["encoder.conv2.bias"], 2))
        x = x + state["encoder.positional_embedding"]
        for layer in range(self._sizes["n_audio_layer"]):
            block = _Block(state, f"encoder.blocks.{layer}")
            normed = block.norm("attn_ln", x)
            keys, values = block.keys_values("attn", normed)
            x = x + block.attend("attn", normed, keys, values)
            x = x + block.feed_forward(x)
        return _norm(state, "encoder.ln_post", x)


@dataclass(slots=True)
class _Decoder:
    """The decoder over one window, token by token; `heard` [1500, width] is the encoder's output."""

    state: dict[str, Array]
    layers: int
    heard: Array
    _blocks: list[_Block] = field(init=False)
    _crossed: list[tuple[Array, Array]] = field(init=False)  # keys and values of the audio, by layer
    _cached: list[tuple[Array, Array]] = field(init=False)  # of the tokens so far
    _position: int = 0

    def __post_init__(self) -> None:
        self._blocks = [_Block(self.state, f"decoder.blocks.{layer}") for layer in range(self.layers)]
        self._crossed = [block.keys_values("cross_attn", self.heard) for block in self._blocks]
        width = self.heard.shape[1]
        self._cached = [(np.zeros((0, width), np.float32),) * 2 for _ in self._blocks]

    def step(self, token: int) -> Array:
        """The scores [tokens] of the token that follows `token`."""
        embeddings = self.state["decoder.token_embedding.weight"]
        x = (embeddings[token] + self.state["decoder.positional_embedding"][self._position])[np.newaxis]
        for layer, block in enumerate(self._blocks):
            normed = block.norm("attn_ln", x)
            added = block.keys_values("attn", normed)
            keys, values = (np.concatenate(pair) for pair in zip(self._cached[layer], added, strict=True))
            self._cached[layer] = keys, values
            x = x + block.attend("attn", normed, keys, values)
            x = x + block.attend("cross_attn", block.norm("cross_attn_ln", x), *self._crossed[layer])
            x = x + block.feed_forward(x)
        self._position += 1
        scores: Array = embeddings @ _norm(self.state, "decoder.ln", x)[0]
        return scores


@dataclass(frozen=True, slots=True)
class _Block:
    """One transformer layer, by the names of OpenAI's state dict."""

    state: dict[str, Array]
    name: str

    def norm(self, part: str, x: Array) -> Array:
        return _norm(self.state, f"{self.name}.{part}", x)

    def keys_values(self, part: str, x: Array) -> tuple[Array, Array]:
        """Keys and values [T, width]; Whisper's keys have no bias."""
        return x @ self.state[f"{self.name}.{part}.key.weight"].T, self._linear(f"{part}.value", x)

    def attend(self, part: str, x: Array, keys: Array, values: Array) -> Array:
        """The attention of x [N, width] over keys and values [T, width], head by head."""
        queries = self._linear(f"{part}.query", x) * ctranslate2.HEAD**-0.5
        mixed = np.empty_like(queries)
        for start in range(0, queries.shape[1], ctranslate2.HEAD):
            head = slice(start, start + ctranslate2.HEAD)
            weights = queries[:, head] @ keys[:, head].T
            weights -= weights.max(axis=1, keepdims=True)
            np.exp(weights, out=weights)
            mixed[:, head] = weights @ values[:, head] / weights.sum(axis=1, keepdims=True)
        return self._linear(f"{part}.out", mixed)

    def feed_forward(self, x: Array) -> Array:
        return self._linear("mlp.2", _gelu(self._linear("mlp.0", self.norm("mlp_ln", x))))

    def _linear(self, part: str, x: Array) -> Array:
        weight, bias = self.state[f"{self.name}.{part}.weight"], self.state[f"{self.name}.{part}.bias"]
        return x @ weight.T + bias


def _norm(state: dict[str, Array], name: str, x: Array) -> Array:
    centered = x - x.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centered**2).mean(axis=1, keepdims=True) + EPSILON)
    return centered / deviation * state[f"{name}.weight"] + state[f"{name}.bias"]


def _gelu(x: Array) -> Array:
    """x times the normal distribution's probability below x."""
    size = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * size)
    tail = t * (ERF[0] + t * (ERF[1] + t * (ERF[2] + t * (ERF[3] + t * ERF[4])))) * np.exp(-size * size)
    half = np.float32(0.5) * tail
    return x * np.where(x < 0, half, 1 - half)


def _convolve(x: Array, weight: Array, bias: Array, stride: int) -> Array:
    """x [T, channels in] with kernels [channels out, channels in, 3], one position of padding -> [T / stride, channels out]."""
    padded = np.pad(x, ((1, 1), (0, 0)))
    shifted = [padded[shift : shift + len(x) : stride] for shift in range(3)]
    return np.concatenate(shifted, axis=1) @ weight.transpose(2, 1, 0).reshape(-1, len(weight)) + bias


def log_mel(samples: Samples, filters: Array) -> Array:
    """Whisper's log-mel spectrogram [3000, mels] of samples [T] of at most 30 s, padded with silence."""
    padded = np.pad(np.pad(samples, (0, WINDOW - len(samples))), FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[:-1:HOP]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)).astype(np.float32)
    power = (np.abs(np.fft.rfft(frames * hann)) ** 2).astype(np.float32)
    logs = np.log10(np.maximum(power @ filters, 1e-10))
    return ((np.maximum(logs, logs.max() - DYNAMIC_RANGE) + 4) / 4).astype(np.float32)


def mel_filters(mels: int) -> Array:
    """Triangular filters [201, mels] from 0 to 8 kHz of unit area (Slaney's scale: linear to 1 kHz, then logarithmic)."""
    knee_hz, per_mel_hz, step = 1000.0, 200 / 3, np.log(6.4) / 27
    knee = knee_hz / per_mel_hz
    scale = np.linspace(0.0, knee + np.log(RATE_HZ / 2 / knee_hz) / step, mels + 2)
    edges = np.where(scale < knee, scale * per_mel_hz, knee_hz * np.exp(step * (scale - knee)))
    bins = np.fft.rfftfreq(FFT, 1 / RATE_HZ)[:, np.newaxis]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return (np.maximum(0.0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])).astype(np.float32)


def cut_long(samples: Samples) -> list[Samples]:
    """Samples [T] as pieces of at most 30 s, cut in the quietest 300 ms of each window's last 10 s."""
    pieces = []
    while len(samples) > WINDOW:
        first = WINDOW - round(CUT_S * RATE_HZ)
        power = 10 ** (frame_levels(samples[first:WINDOW], RATE_HZ) / 10)
        width = CUT_NS * len(power) // round(CUT_S * NS_PER_S)  # in frames
        quietest = int(np.convolve(power, np.ones(width), mode="valid").argmin())
        cut = first + (quietest + width // 2) * (WINDOW - first) // len(power)
        pieces.append(samples[:cut])
        samples = samples[cut:]
    return [*pieces, samples]


@cache
def byte_values() -> dict[str, int]:
    """GPT-2's signs for bytes: printable ones stand for themselves, the others for those from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [value for value in range(256) if value not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
