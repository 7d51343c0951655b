"""The configuration of a Freeze-Omni: sizes of its nets, and how it is run live. Frozen dataclasses, read from TOML.

`configs/` holds `paper` (Qwen2-7B), `small` (SmolLM2-135M on a laptop) and `tiny` (tests).
"""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

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
    text: Sampling = field(default_factory=lambda: Sampling(temperature=0.0))
    speech: Sampling = field(default_factory=lambda: Sampling(top_k=2))
    segmentation: Segmentation = field(default_factory=Segmentation)
    packets: PacketSizes = field(default_factory=PacketSizes)
    duplex: TurnTakingSettings = field(default_factory=TurnTakingSettings)
    quiet: SilenceSplitConfig | None = None  # hold audio back until a quiet place, as the published server does

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model: the backbone it belongs to, and the sizes of its nets."""

    name: str
    backbone: str
    llm_size: int  # D
    encoder: ConvTransformerConfig | WhisperConfig
    adapter: AdapterConfig | CTCAdapterConfig
    decoder: SpeechDecoderConfig
    codec: CodecConfig | TiCodecConfig
    rereader: SecondPassConfig | None = None  # a second pass over a turn that has ended, of an adapter that spells
    prompts: int = 25  # learnt vectors before a user turn's audio
    state_middle: int = 0  # units of the state head's middle layer; 0: it has none, as published
    compat: bool = False  # the published weights' habits (see `compatible`)
    settings: Settings = field(default_factory=Settings)

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
        made = _read(cls, data, where)
        assert isinstance(made, cls)
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
            data = tomllib.loads(path.read_text())
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise FobenchError(f"{path} is not a TOML file: {error}") from error
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


# ---- plain data to dataclasses ---------------------------------------------------------------------------------------


def _read(cls: Any, data: Mapping[str, Any], where: str) -> Any:
    """The dataclass `cls` from a table, checked."""
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}
    values = {}
    for key, value in data.items():
        if key not in known:
            raise unknown(f"key in {where}", key, known)
        values[key] = _value(hints[key], value, f"{where}: {key}")
    try:
        return cls(**values)
    except TypeError as error:  # a key is missing; the message names it
        raise FobenchError(f"{where}: {str(error).split('__init__() ')[-1]}.") from error


def _value(kind: Any, value: Any, where: str) -> Any:
    members = (
        typing.get_args(kind)
        if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union
        else (kind,)
    )
    if value is None and type(None) in members:
        return None
    classes = [m for m in members if is_dataclass(m)]
    if classes:
        return _table(classes, value, where)
    if typing.get_origin(kind) is Literal and value not in typing.get_args(kind):
        raise FobenchError(f"{where} is {value!r}; it must be one of {', '.join(map(repr, typing.get_args(kind)))}.")
    return _plain(members, value, where)


def _table(classes: list[Any], value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise FobenchError(f"{where} must be a table, not {value!r}.")
    if len(classes) == 1:
        return _read(classes[0], value, where)
    kinds = {name: cls for known in KINDS.values() for name, cls in known.items() if cls in classes}
    if value.get("kind") not in kinds:
        raise unknown(f"kind of {where}", str(value.get("kind")), kinds)
    return _read(kinds[value["kind"]], {k: v for k, v in value.items() if k != "kind"}, where)


def _plain(members: tuple[Any, ...], value: Any, where: str) -> Any:
    """Lists become tuples, whole numbers floats where floats are asked for; other types must be right."""
    if isinstance(value, list):
        return tuple(tuple(v) if isinstance(v, list) else v for v in value)
    simple = [m for m in members if m in (int, float, str, bool)]
    if float in simple and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if simple and not any(type(value) is m for m in simple):
        wanted = " or ".join(m.__name__ for m in simple)
        raise FobenchError(f"{where} is {value!r}; it must be {wanted}.")
    return value
