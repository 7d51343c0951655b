"""Every stage with a batch of the shapes that it trains on, and nothing of the data: for dry runs (`estimate`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fobench.errors import FobenchError
from reference_model.codec.hifigan import PIPER_GENERATOR
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni
from reference_model.speech_input.bpe_units import Units
from reference_model.speech_input.ctc_adapter import SpellingConfig
from reference_model.speech_input.second_pass import RereaderConfig
from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.speech_input.whisper_encoder import WhisperConfig
from reference_model.speech_output.speech_decoder import SpeechDecoder
from reference_model.train.data.asr_batches import Heard, Listening
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.shards import Faults
from reference_model.train.engine.cost_estimate import Sample
from reference_model.train.engine.loop_config import Loop
from reference_model.train.llm.frozen_llm import Frozen
from reference_model.train.llm.shape_stub import Likeness
from reference_model.train.speech_input.ctc import CTCStage, Even
from reference_model.train.speech_input.llm_transcription import TranscribingStage
from reference_model.train.speech_input.second_pass_online import WholeLearner
from reference_model.train.speech_output import decoder_training
from reference_model.train.speech_output.codec_training import WaveLearner, WaveStage, trainable
from reference_model.train.speech_output.discriminators import AdversaryConfig
from reference_model.train.stages import input_1, input_2, output_1, second_pass
from reference_model.train.stages.output_3 import PrefixStage
from reference_model.train.turn_taking.head_training import Judged, StateLearner, StateStage
from reference_model.train.turn_taking.prompt_tuning import ConversingLearner, ConversingStage, Exchange
from reference_model.train.turn_taking.vad_turns import Opened
from reference_model.turn_taking.state_head import State, StateHead

CLIP_S = 4.0  # of a clip
LETTERS_S = 15  # letters spoken a second
REPLY = 40  # tokens of a reply
UNITS = 512
WORDS = "".join(chr(ord("a") + (7 * i + i // 26) % 26) + (" " if i % 5 == 4 else "") for i in range(4000))


@dataclass(frozen=True, slots=True)
class Case:
    """For which model, with which settings and options, on how many devices."""

    config: ModelConfig
    loop: Loop
    device: torch.device
    devices: int
    options: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What is said in a clip."""
        return WORDS[: int(CLIP_S * LETTERS_S)]

    def clips(self, seconds: float = CLIP_S) -> int:
        """Of one device's share of a batch, if each lasts so long."""
        whole = min(self.loop.batch_most, max(1, int(self.loop.batch_s / seconds)))
        return max(1, whole // self.devices)

    def said(self, seconds: float = CLIP_S, noun: str = "clips") -> str:
        return f"{self.clips(seconds)} {noun}, {self.clips(seconds) * seconds:.0f} s"

    def frozen(self) -> Frozen:
        """The LLM's stand-in. FobenchError for one that the model does not fit."""
        name = self.options.get("backbone") or self.config.backbone or "tiny"
        dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        made = Likeness(name, self.device, dtype)
        if made.hidden_size != self.config.llm_size:
            raise FobenchError(
                f"Configuration {self.config.name} is for an LLM of hidden size {self.config.llm_size}; {name} has "
                f"{made.hidden_size}. Choose another --backbone, or --config."
            )
        return Frozen(made)  # type: ignore[arg-type] - no more than training asks for

    def heard(self, encoder: SpeechEncoder, clean: bool) -> Heard:
        front, count = encoder.front, self.clips()
        frames = -(-round(CLIP_S * front.rate_hz / front.hop) // encoder.chunk) * encoder.chunk
        features = torch.zeros(count, frames, front.mels, device=self.device)
        spans = torch.tensor([[0, frames]] * count)
        lengths = torch.full((count,), frames)
        return Heard(features, lengths, features if clean else None, (self.text,) * count, spans)


class Blank:
    """Where a training begins that has no data and no earlier weights (as `start.Start`)."""

    corpus = Corpus([], 16_000)

    def __init__(self, case: Case) -> None:
        self.config, self._device = case.config, case.device

    def encoder(self) -> SpeechEncoder:
        with self._device:
            return self.config.encoder.build()

    @cached_property
    def _learnt(self) -> Units:
        return Units.learn([WORDS[i : i + 60] for i in range(0, len(WORDS), 60)], UNITS)

    def units(self, path: Path) -> Units:
        return self._learnt

    def give(self, part: nn.Module, name: str, config: Any) -> bool:
        return False

    def tensor(self, name: str, new: Tensor) -> Tensor:
        return new.to(self._device)


def sample_input_1(case: Case) -> Sample:
    teacher = None
    if isinstance(case.config.encoder, WhisperConfig) and case.options.get("near") is not False:
        with case.device:
            teacher = WhisperConfig().build()
        teacher.requires_grad_(False).eval()
    start: Any = Blank(case)
    if case.options.get("space") == "llm":
        learner, _ = input_1.token_learner(start, teacher, case.frozen())
    else:
        learner, _ = input_1.unit_learner(start, teacher, Path())
    batch = case.heard(learner.encoder, clean=teacher is not None)
    return Sample(CTCStage(learner, _nothing(), (), {}, Even()), batch, case.said())


def sample_reread(case: Case) -> Sample:
    config = case.config.rereader
    if config is None:
        raise FobenchError(f"Configuration {case.config.name} has no second pass, no [rereader].")
    units = Blank(case).units(Path())
    return (_reread_of_frames if case.options.get("folders") else _reread_of_clips)(case, config, units)


def _reread_of_clips(case: Case, config: RereaderConfig, units: Units) -> Sample:
    """Clips that Whisper's encoder hears anew."""
    with case.device:
        whisper = WhisperConfig(size=config.encoder_size, layers=config.encoder_layers).build()
        learner = WholeLearner(whisper, replace(config, units=len(units)).build(), units)
    stage = CTCStage(learner, _nothing(), (), {}, Even(), name="reread")
    return Sample(stage, case.heard(whisper, clean=False), case.said())


def _reread_of_frames(case: Case, config: RereaderConfig, units: Units) -> Sample:
    """Frames that were kept of an unchanged encoder."""
    features = SpellingConfig(0).hidden if case.options.get("correct") else 0
    config = replace(config, units=len(units), features=features, rank=0)
    with case.device:
        adapter = SpellingConfig(config.encoder_size, units.merges).build()
        learner = second_pass.RereadLearner(config.build(), adapter)
    frames = torch.zeros(round(CLIP_S * second_pass.FRAMES_HZ), config.encoder_size)
    heard = torch.zeros(len(frames) // config.stride, config.features) if config.features else None
    batch = second_pass.collate(
        [second_pass.Part(case.text, frames, heard, units.encode(case.text))] * case.clips(), units
    )
    return Sample(second_pass.RereadStage(learner, (), (), {}, Even(), Faults()), batch, case.said())


def sample_input_2(case: Case) -> Sample:
    start: Any = Blank(case)
    learner = input_2.learner(start, case.frozen())
    stage = TranscribingStage(learner, _nothing(), (), {})
    return Sample(stage, case.heard(learner.encoder, clean=False), case.said())


def sample_input_3(case: Case) -> Sample:
    config = case.config
    if not config.prompts:
        return _state_head(case)
    with case.device:
        model = FreezeOmni(replace(config, codec=replace(config.codec)))
    model.codec = model.decoder = nn.Identity()  # neither is there
    learner = ConversingLearner(model, case.frozen(), bool(case.options.get("distil")))
    chunk_s = model.encoder.chunk * model.encoder.front.hop / model.encoder.front.rate_hz
    chunks = round(CLIP_S / chunk_s)
    features = torch.zeros(chunks * model.encoder.chunk, model.encoder.front.mels)
    since = torch.arange(chunks) * chunk_s - CLIP_S
    turn = Opened("question", State.ANSWER, features, None, 0, since, case.text)
    batch = [Exchange(turn, tuple(range(8, 8 + REPLY)))] * case.clips()
    nothing: Any = None
    return Sample(ConversingStage(learner, nothing, (), {}, 0), batch, case.said(noun="turns"))


def _state_head(case: Case) -> Sample:
    """Of a model without prompts: the head learns from what was made before."""
    config, encoder = case.config, Blank(case).encoder()
    chunk_s = encoder.chunk * encoder.front.hop / encoder.front.rate_hz
    chunks, evidence = round(CLIP_S / chunk_s), config.adapter.evidence
    with case.device:
        learner = StateLearner(StateHead(config.llm_size, evidence, config.state_middle))
    vectors = torch.zeros(case.clips(), chunks, config.llm_size + evidence, device=case.device)
    batch = Judged(vectors, torch.zeros(vectors.shape[:2], dtype=torch.long, device=case.device))
    return Sample(StateStage(learner, (), (), chunk_s), batch, case.said(noun="turns"))


def sample_output_1(case: Case) -> Sample:
    config, options = trainable(case.config.codec), case.options
    frames = options.get("frames") or output_1.FRAMES
    samples, seconds = frames * config.hop, frames * config.hop / config.sample_rate_hz
    if config.generator == PIPER_GENERATOR and not options.get("data"):
        with case.device:
            learner = output_1.CodecLearner(config.build())
        count = output_1.CROPS // case.devices
        latents = torch.randn(count, config.generator.inputs, frames * config.stack, device=case.device)
        pair = output_1.Pair(torch.zeros(count, samples, device=case.device), latents)
        return Sample(output_1.CodecStage(learner, [], []), pair, f"{count} crops, {count * seconds:.0f} s", True)
    width = options.get("width") or AdversaryConfig().width
    adversary = AdversaryConfig(width) if options.get("adversarial") else None
    with case.device:
        waves = WaveLearner(config.build(), adversary)
    stage = WaveStage(waves, Blank.corpus, Blank.corpus, config, adversary, frames)
    audio = torch.zeros(case.clips(seconds), samples, device=case.device)
    return Sample(stage, audio, case.said(seconds, "crops"), in_full=True)


def sample_output_2(case: Case) -> Sample:
    config = replace(case.config.decoder, thoughts=False)
    if case.options.get("letters") is False:
        config = replace(config, characters=0)
    if False in (case.options.get("letters"), case.options.get("phonemes")):
        config = replace(config, phonetic=False, paced=False)
    learner, batch, reader = _speaking(case, SpeechDecoder, config, None)
    return Sample(decoder_training.SpeakingStage(learner, reader, [], [], 1.0), batch, case.said(noun="texts"))


def sample_output_3(case: Case) -> Sample:
    config = replace(case.config.decoder, thoughts=True)
    hidden = torch.zeros(int(CLIP_S * LETTERS_S) // 4, case.config.llm_size)
    learner, batch, reader = _speaking(case, SpeechDecoder, config, hidden)
    return Sample(PrefixStage(learner, reader, [], [], 1.0, Faults()), batch, case.said(noun="segments"))


def _speaking(case: Case, build: Callable[[Any], SpeechDecoder], config: Any, hidden: Tensor | None) -> Any:
    frozen = case.frozen()
    with case.device:
        decoder = build(config)
    reader = decoder_training.Reader(frozen.backbone, case.config, phonetic=config.phonetic)
    frames = round(CLIP_S * trainable(case.config.codec).frame_rate_hz)
    codes = torch.zeros(config.codebooks, frames, dtype=torch.int64)
    lasting = torch.full((len(case.text),), frames / len(case.text))
    said = decoder_training.Utterance(case.text, codes, hidden, case.text, lasting)
    learner = decoder_training.SpeakingLearner(decoder, decoder_training.embeddings_of(frozen))
    return learner, decoder_training.collate(reader, [said] * case.clips()), reader


def _nothing() -> Listening:
    """In place of data."""
    nothing: Any = None
    return nothing


SAMPLES: dict[str, Callable[[Case], Sample]] = {
    "input_1": sample_input_1,
    "reread": sample_reread,
    "input_2": sample_input_2,
    "input_3": sample_input_3,
    "output_1": sample_output_1,
    "output_2": sample_output_2,
    "output_3": sample_output_3,
}
