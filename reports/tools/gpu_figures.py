"""What is measured of Freeze-Omni on a device: its parts, the path of a reply, and how many sessions keep real time."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from fobench import audio
from fobench.api import registry
from fobench.api.types import NS_PER_S, Action, AudioChunk, EventKind, Samples
from fobench.errors import PrerequisiteError
from fobench.simulation.costs import step_name
from fobench.simulation.playback import PlaybackBuffer
from reference_model.checkpoint import loading
from reference_model.inference.engine import InferenceEngine
from reference_model.inference.session import FreezeOmniSession
from reference_model.model import FreezeOmni
from reference_model.speech_input.ctc_adapter import CTCAdapter
from reference_model.speech_output.sampling import generator
from reference_model.speech_output.segmenter import Segment
from reference_model.speech_output.speech_decoder import EOS
from reference_model.turn_taking.energy_vad import EnergyVAD
from reports.tools import random_llm
from reports.tools.bench_parts import Figure

RATE_HZ, WINDOW = 16_000, 512
TICK_S = 0.16  # of audio: five windows of the detector, one chunk of the encoder
TALKS_S, PERIOD_S = 2.0, 9.0  # a user talks so long, and begins again after such a period
QUESTION = 200  # of spoken-qa
ROWS = 64  # of text, in a segment
WARMUP = 3  # rounds that are not counted
FRAMES = 20  # of the codec, in a packet: the published first packet
AHEAD_S = 1.0  # audio made ahead of the listener, at which a session rests
STARVED = 0.01  # share of a reply's ticks in which the listener may wait for audio
PUBLISHED_MS = {"text": 468, "speech prefill": 15, "first packet": 235 + 11, "total": 753}  # p50, paper
SIZES = {  # name: (checkpoint, LLM of `random_llm`, dtype of the LLM on a GPU)
    "paper": ("untrained:paper", "qwen2-7b", torch.bfloat16),
    "small": ("freeze-omni/any", "smollm2-135m", torch.bfloat16),
    "tiny": ("untrained:tiny", "tiny", torch.float32),
}
Timed = Callable[[], Any]


def engine(size: str, device: str, *, compiled: bool = False) -> tuple[InferenceEngine, str]:
    """(the system at `size` around its LLM, what the LLM is). Turns end by voice activity, by loudness: random weights know no states.

    The LLM is the real one where its file is at hand (`small`), else one of its size with random weights.
    """
    checkpoint, llm, dtype = SIZES[size]
    model = loading.load(registry.create("checkpoints", checkpoint), device=device)
    llm_dtype = dtype if device.startswith("cuda") else torch.float32
    found, told = _llm(llm, device, llm_dtype)
    if checkpoint.startswith(loading.UNTRAINED):
        _speak_long(model)
    if compiled:
        model.decoder.layers.compile_steps("reduce-overhead" if device.startswith("cuda") else "default")
    settings = model.config.settings
    duplex = replace(settings.duplex, turn_end="vad", manners=False)
    settings = replace(settings, duplex=duplex, max_tokens=min(settings.max_tokens, 48))
    return InferenceEngine(model, found, settings, EnergyVAD), told


def _llm(name: str, device: str, dtype: torch.dtype) -> tuple[Any, str]:
    if name == "smollm2-135m":
        try:
            options = {"device": device, "dtype": str(dtype).removeprefix("torch."), "offline": True}
            return registry.create("backbones", name, options), "the real LLM"
        except PrerequisiteError:
            pass  # its weights are not here
    return random_llm.backbone(name, device, dtype), "an LLM of the same size with random weights"


def _speak_long(model: FreezeOmni) -> None:
    """Lets an untrained speech decoder speak 100 frames a segment: it knows no end, and would else stop anywhere."""
    with torch.no_grad():
        model.decoder.out.bias[model.decoder.special(EOS)] -= 99
    model.decoder.config = replace(model.decoder.config, max_frames=100)


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def times_ms(work: Timed, device: str, rounds: int, warmup: int = WARMUP) -> list[float]:
    """Times of `work` in ms, each until the device is idle again."""
    found = []
    for number in range(warmup + rounds):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        if number >= warmup:
            found.append(1e3 * (time.perf_counter() - start))
    return found


def memory(device: str, label: str) -> Iterator[Figure]:
    if device.startswith("cuda"):
        yield Figure(f"peak GPU memory, {label}", torch.cuda.max_memory_allocated(device) / 1e9, "GB")


# ---- the device ------------------------------------------------------------------------------------------------------


def device_figures(device: str, megabytes: int) -> Iterator[Figure]:
    """Memory bandwidth by a copy (read and written bytes), and products of matrices in bfloat16."""
    source = torch.ones(megabytes * 2**20 // 4, device=device)
    target = torch.empty_like(source)
    best = min(times_ms(lambda: target.copy_(source), device, 10))
    yield Figure("memory bandwidth", 2 * source.nbytes / best / 1e6, "GB/s", "higher")
    n = 8192 if device.startswith("cuda") else 64
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    best = min(times_ms(lambda: a @ a, device, 10))
    yield Figure("products of matrices, bfloat16", 2 * n**3 / best / 1e9, "TFLOP/s", "higher")


def bandwidth(device: str, megabytes: int) -> float:
    """Bytes per second that the memory delivers."""
    return 1e9 * next(iter(device_figures(device, megabytes))).value


# ---- parts -----------------------------------------------------------------------------------------------------------


Median = Callable[..., Figure]


def medians(device: str, rounds: int) -> Median:
    """A function that measures `work` and gives the median as a figure."""

    def median(label: str, work: Timed, count: int = rounds) -> Figure:
        return Figure(label, statistics.median(times_ms(work, device, count)), "ms")

    return median


@torch.no_grad()
def listening_figures(live: InferenceEngine, device: str, rounds: int, bytes_per_s: float) -> Iterator[Figure]:
    """Medians of one session alone: encoder, LLM, second pass."""
    model, median = live.model, medians(device, rounds)
    frames = torch.randn(1, model.encoder.chunk, model.config.encoder.mels, device=device)
    heard, encoder, adapter = live.hear(frames, model.encoder.begin(1), model.adapter.begin(1))
    yield median("encoder and adapter, chunk of 160 ms", lambda: live.hear(frames, encoder, adapter))
    yield from _llm_figures(live, median, bytes_per_s)
    if model.rereader is not None and isinstance(model.adapter, CTCAdapter):
        try:
            model.rereader.load()
        except PrerequisiteError:
            return  # Whisper's weights are not here
        features, output = frames.repeat(1, 19, 1), heard.repeat(1, 19, 1)
        yield median("second pass over a turn of 3 s", lambda: model.reread(features, output), max(3, rounds // 4))


@torch.no_grad()
def speaking_figures(live: InferenceEngine, device: str, rounds: int) -> Iterator[Figure]:
    """Medians of one session alone: the speech decoder's prefill and frame, the codec's packet."""
    model, median = live.model, medians(device, rounds)
    hidden = torch.randn(12, model.config.llm_size, device=device)

    def speech() -> Any:
        reply = live.reply(0, 0)
        reply.hidden.extend(hidden)
        return live.speech(reply, Segment("The capital of France is Paris, my friend.", range(12)))

    yield median("speech decoder, prefill of a segment", speech, max(3, rounds // 4))
    rows = torch.randn(1, ROWS, model.decoder.config.size, device=device)
    state, draws = model.decoder.prefill(rows, rows if model.decoder.config.thoughts else None), generator(0)
    count = rounds if state.end is None else max(3, min(rounds, state.end - WARMUP))  # before the segment's end
    yield median("speech decoder, one frame", lambda: model.decoder.step(state, live.settings.speech, draws), count)
    codes = torch.zeros(1, model.config.codec.num_codebooks, FRAMES, dtype=torch.long, device=device)
    yield median(f"codec, {FRAMES} frames", lambda: model.codec.decode_step(codes, None, last=True)[0])


def _llm_figures(live: InferenceEngine, median: Median, bytes_per_s: float) -> Iterator[Figure]:
    """Prefill and token of the LLM, and its tokens per second beside the bound: bandwidth over the bytes of its weights."""
    llm = live.backbone
    rows = llm.embed(torch.randint(0, 256, (1, 64)))
    yield median("LLM, prefill of 64 positions", lambda: llm.step(rows, None, logits=1))
    state = llm.step(rows, None, logits=1)[2]

    def token() -> None:
        nonlocal state
        state = llm.step(llm.embed(torch.tensor([[7]])), state, logits=1)[2]

    step = median("LLM, one token", token)
    yield step
    model = getattr(llm, "model", None)
    size = _step_bytes(model) if model is not None else 0
    bound = bytes_per_s / size if size else None
    yield Figure(
        "LLM, tokens per second", 1e3 / step.value, "tokens/s", "higher", bound, "memory bandwidth / bytes of weights"
    )


def _step_bytes(model: Any) -> int:
    """Bytes of the weights that a token reads: all but the table of embeddings, unless it is the output layer as well."""
    table = model.get_input_embeddings().weight
    untied = model.get_output_embeddings().weight is not table
    return sum(p.nbytes for p in model.parameters()) - (table.nbytes if untied else 0)


# ---- a conversation --------------------------------------------------------------------------------------------------


class Caller:
    """A user who says `speech` and listens, again and again, to a session of their own."""

    def __init__(
        self, live: InferenceEngine, device: str, speech: Samples, seed: int = 0, shift_s: float = 0.0
    ) -> None:
        self.session, self.device = FreezeOmniSession(live, seed), device
        self.playback = PlaybackBuffer(live.model.codec.sample_rate_hz)
        self.rate_hz = live.model.codec.sample_rate_hz
        self.speech, self.shift = speech, round(shift_s * RATE_HZ)
        self.position = 0  # samples of the microphone
        self.steps: dict[str, list[float]] = defaultdict(list)  # ms
        self.paths: list[dict[str, float]] = []  # ms from the decision to the first audio, by part
        self._path: dict[str, float] | None = None
        self._ends_ns, self._reply = 0, -1  # the end of what is there to play, and of which reply
        self.speaking_ticks = self.starved_ticks = 0
        self._done = True

    def tick(self, until: float | None = None) -> None:
        """160 ms of audio and the work it leads to, at most until the time `until` of the clock."""
        if not self._done:
            self.speaking_ticks += 1
            self.starved_ticks += self._ends_ns < self.now_ns
        for _ in range(int(TICK_S * RATE_HZ) // WINDOW):
            if (heard := self.playback.position(self.now_ns)) is not None:
                self.session.heard(*heard)
            events, spent = self._timed(partial(self.session.push, self._chunk()))
            self.steps["push"].append(spent)
            while (until is None or time.perf_counter() < until) and self._ends_ns - self.now_ns < AHEAD_S * NS_PER_S:
                event, spent = self._timed(partial(next, events, None))
                if event is None:
                    break
                self.steps[step_name(event)].append(spent)
                self._note(event, spent)

    def _timed(self, work: Timed) -> tuple[Any, float]:
        """(the result of a unit of work, the ms until it is there)."""
        start = time.perf_counter()
        found = work()
        synchronize(self.device)
        return found, 1e3 * (time.perf_counter() - start)

    def _note(self, event: Any, spent: float) -> None:
        name = step_name(event)
        if event.data.get("action") == Action.SPEAK:
            self._path = defaultdict(float)
        elif self._path is not None:
            part = (
                "speech prefill"
                if name == "speech_prefill"
                else "first packet"
                if event.kind is EventKind.AUDIO
                else "text"
            )
            self._path[part] += spent
        if event.kind is EventKind.AUDIO:
            if self._path is not None:
                self.paths.append({**self._path, "total": sum(self._path.values())})
                self._path = None
            samples = event.data["audio"].samples
            self._done = False
            self.playback.add(event.data["reply"], samples, self.now_ns)
            self._ends_ns = max(self._ends_ns, self.now_ns) + round(len(samples) * NS_PER_S / self.rate_hz)
        elif event.kind is EventKind.REPLY_END:
            self._done = True
        elif event.data.get("action") == Action.YIELD:
            self.playback.flush(self.now_ns)
            self._ends_ns, self._done = self.now_ns, True

    @property
    def now_ns(self) -> int:
        return self.position * NS_PER_S // RATE_HZ

    def _chunk(self) -> AudioChunk:
        start = (self.position + self.shift) % round(PERIOD_S * RATE_HZ)
        said = self.speech[start : start + WINDOW]
        chunk = AudioChunk(np.pad(said, (0, WINDOW - len(said))), RATE_HZ, self.position)
        self.position += WINDOW
        return chunk


def speech(size: str) -> Samples:
    """What users say, 16 kHz: a question of the suite to a trained model, to others noise, which a loudness detector takes for speech."""
    if SIZES[size][0].startswith(loading.UNTRAINED):
        noise = np.random.default_rng(0).normal(0, 0.2, round(TALKS_S * RATE_HZ))
        return np.clip(noise, -1, 1).astype(np.float32)
    scenario = list(registry.create("suites", "spoken-qa").scenarios(0))[QUESTION]
    return audio.resample(audio.load(scenario.question.audio), RATE_HZ).samples[: round(PERIOD_S / 2 * RATE_HZ)]


def conversation_figures(live: InferenceEngine, device: str, said: Samples, turns: int) -> Iterator[Figure]:
    """Medians of the steps of a live session over `turns` turns after a first one, and the path of a reply by part."""
    caller = Caller(live, device, said)
    with caller.session:
        for turn in range(turns + 1):
            if turn == 1:  # the first one warms up
                caller.steps.clear()
                caller.paths.clear()
            for _ in range(round(PERIOD_S / TICK_S)):
                caller.tick()
    for name, spent in sorted(caller.steps.items()):
        yield Figure(f"session, `{name}`, p50 of {len(spent)}", statistics.median(spent), "ms")
    for part in ("text", "speech prefill", "first packet", "total"):
        values = [path.get(part, 0.0) for path in caller.paths]
        if values:
            published = PUBLISHED_MS[part]
            name = f"from the decision to the first audio: {part}, p50 of {len(values)}"
            yield Figure(name, statistics.median(values), "ms", "lower", published, "paper, on its own GPU")


def real_time_figures(
    live: InferenceEngine, device: str, said: Samples, counts: list[int], seconds: float, end: float
) -> Iterator[Figure]:
    """Of growing numbers of sessions, stepped together: p95 of the time of 160 ms of audio, and the largest number below 160 ms.

    `end`: the time of the clock (`time.perf_counter`) at which no further number is tried.
    """
    most = 0
    for count in counts:
        if time.perf_counter() > end:
            break
        p95, starved = _step_together(live, device, said, count, seconds)
        yield Figure(f"{count} sessions, p95 of 160 ms of audio", p95, "ms", "lower", 1e3 * TICK_S, "real time")
        yield Figure(f"{count} sessions, listener waits for audio", 100 * starved, "%", "lower", 100 * STARVED, "limit")
        if p95 > 1e3 * TICK_S or starved > STARVED:
            break
        most = count
    yield Figure("sessions that keep real time", most, "sessions", "higher")


def _step_together(
    live: InferenceEngine, device: str, said: Samples, count: int, seconds: float
) -> tuple[float, float]:
    """(p95 of a tick's ms, share of the replies' ticks in which audio was missing) of `count` sessions, their turns spread evenly.

    All take 160 ms of audio in, then work until each is `AHEAD_S` ahead of its listener, or for 160 ms: what a server does.
    """
    callers = [Caller(live, device, said, i, i * PERIOD_S / count) for i in range(count)]
    spent, ticks, warmup = [], round(seconds / TICK_S), round(min(2.0, seconds / 4) / TICK_S)
    with ThreadPoolExecutor(count) as pool:
        for tick in range(ticks + warmup):
            start = time.perf_counter()
            until = start + TICK_S if tick >= warmup else None
            list(pool.map(lambda caller, until=until: caller.tick(until), callers))
            if tick >= warmup:
                spent.append(1e3 * (time.perf_counter() - start))
    speaking = sum(caller.speaking_ticks for caller in callers)
    starved = sum(caller.starved_ticks for caller in callers) / max(1, speaking)
    return float(np.percentile(spent, 95)), starved
