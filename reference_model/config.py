"""The configuration of a Freeze-Omni: sizes of its nets, and how it is run live. Frozen dataclasses, read from TOML.

`configs/` holds `paper` (Qwen2-7B), `small` (SmolLM2-135M on a laptop) and `tiny` (tests).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fobench import outside_files
from fobench.api import typed
from fobench.errors import FobenchError, unknown
from reference_model.codec.reference_codec import CodecConfig
from reference_model.codec.ticodec import TiCodecConfig
from reference_model.speech_input.adapter import AdapterConfig
from reference_model.speech_input.conv_transformer import ConvTransformerConfig
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig
from reference_model.speech_input.second_pass import SecondPassConfig
from reference_model.speech_input.whisper_encoder import WhisperConfig
from reference_model.speech_output.packets import PacketSizes
from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.segmenter import Segmentation
from reference_model.speech_output.silence_splitter import SilenceSplitConfig
from reference_model.speech_output.speech_decoder import SpeechDecoderConfig
from reference_model.turn_taking import head_inputs
from reference_model.turn_taking.head_inputs import HeadPart
from reference_model.turn_taking.settings import TurnTakingSettings

FOLDER = Path(__file__).parent / "configs"
ENCODERS = {"conv_transformer": ConvTransformerConfig, "whisper": WhisperConfig}
ADAPTERS = {"rows": AdapterConfig, "spelling": CTCAdapterConfig}
CODECS = {"reference": CodecConfig, "published": TiCodecConfig}
KINDS: dict[str, dict[str, Any]] = {"encoder": ENCODERS, "adapter": ADAPTERS, "codec": CODECS}
PROMPT = "You are a helpful voice assistant. Your answers are spoken aloud: keep them to one or two short sentences."


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is run live; nothing here has weights."""

    system_prompt: str = PROMPT
    max_tokens: int = 48  # of a reply
    max_turn_rows: int = 375  # a user turn, in LLM positions: 30 s
    ahead_s: float = 1.0  # audio made ahead of the listener before text is thought on
    speculative_s: float = 0.5  # audio of a reply made before its turn is known to be over (`speculation`); 0: no reply
    text: Sampling = field(default_factory=lambda: Sampling(temperature=0.0))
    speech: Sampling = field(default_factory=lambda: Sampling(top_k=2))
    segmentation: Segmentation = field(default_factory=Segmentation)
    packets: PacketSizes = field(default_factory=PacketSizes)
    duplex: TurnTakingSettings = field(default_factory=TurnTakingSettings)
    lead_in_s: float | None = None  # silence kept before the first sound of a reply; None: all of it
    quiet: SilenceSplitConfig | None = None  # hold audio back until a quiet place, as the published server does

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model: the backbone it belongs to, and the sizes of its nets.

    Without a backbone it fits every LLM of hidden size `llm_size`, and with an `llm_size` of 0 every LLM there is: then its nets
    take nothing of the LLM but text and `language_numbers` (`__post_init__` says what that asks of them).
    """

    name: str
    encoder: ConvTransformerConfig | WhisperConfig
    adapter: AdapterConfig | CTCAdapterConfig
    decoder: SpeechDecoderConfig
    codec: CodecConfig | TiCodecConfig
    backbone: str = ""  # the LLM that it was trained with; "": none in particular
    llm_size: int = 0  # D; 0: any
    rereader: SecondPassConfig | None = None  # a second pass over a turn that has ended, of an adapter that spells
    prompts: int = 25  # learnt vectors before a user turn's audio
    state_middle: int = 0  # units of the state head's middle layer; 0: it has none, as published
    state_memory: int = 0  # units of the state head's memory of the turn's earlier chunks; 0: it has none, as published
    state_inputs: tuple[HeadPart, ...] = ("hidden", "evidence")  # what the state head sees (`turn_taking.head_inputs`)
    compat: bool = False  # the published weights' habits (see `compatible`)
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        if self.llm_size:
            return
        ties = {
            f"backbone = {self.backbone!r}": bool(self.backbone),
            "an adapter of LLM embeddings": not isinstance(self.adapter, CTCAdapterConfig),
            f"prompts = {self.prompts}": self.prompts > 0,
            "a state head on hidden states (state_inputs)": "hidden" in self.state_inputs,
            "a speech decoder with rows of the LLM (llm_rows, thoughts)": not self.decoder.any_llm,
        }
        if found := [tie for tie, there in ties.items() if there]:
            raise FobenchError(
                f"Configuration {self.name} has llm_size = 0, for any LLM, but {', '.join(found)}. Give the LLM's llm_size, or change these."
            )

    @property
    def head_size(self) -> int:
        """Size of the state head's input."""
        return sum(head_inputs.sizes(self.state_inputs, self.llm_size, self.adapter.evidence))

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads again."""
        data = asdict(self)
        for part, kinds in KINDS.items():
            kind = next(name for name, cls in kinds.items() if isinstance(getattr(self, part), cls))
            data[part] = {"kind": kind, **data[part]}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "the configuration") -> ModelConfig:
        """Raises FobenchError naming the key that is unknown, missing or of the wrong type."""
        made: ModelConfig = typed.read(cls, data, where, {**ENCODERS, **ADAPTERS, **CODECS})
        return compatible(made) if made.compat else made

    @classmethod
    def load(cls, name: str) -> ModelConfig:
        """A built-in configuration by name, or one in a TOML file by path."""
        path = Path(name).expanduser() if name.endswith(".toml") else FOLDER / f"{name}.toml"
        if not path.is_file():
            if name.endswith(".toml"):
                raise FobenchError(f"There is no configuration file {name}.")
            raise unknown("configuration", name, sorted(p.stem for p in FOLDER.glob("*.toml")))
        try:
            data = outside_files.read_toml(path)
        except (OSError, ValueError) as error:
            raise FobenchError(f"{path} cannot be read as TOML: {error}.") from error
        return cls.from_json({"name": path.stem, **data}, str(path))


def compatible(config: ModelConfig) -> ModelConfig:
    """The habits that the published weights were trained and served with, all in one place; our own models have none of them."""
    encoder, settings = config.encoder, config.settings
    if isinstance(encoder, ConvTransformerConfig):
        encoder = replace(encoder, lagging_positions=True, zero_context=True)
    adapter = config.adapter
    if isinstance(adapter, AdapterConfig):
        adapter = replace(adapter, left=adapter.kernel - 1)
    return replace(
        config,
        encoder=encoder,
        adapter=adapter,
        settings=replace(settings, text=replace(settings.text, keep_crossing=False)),
    )
