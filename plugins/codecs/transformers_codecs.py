"""Neural codecs of transformers, from the hub or a folder: EnCodec, DAC, X-Codec, and Mimi's loading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fobench.api.types import Samples
from fobench.assets import hub
from fobench.errors import FobenchError, PrerequisiteError
from fobench_plugins.codecs.windowed_streaming import Codes, WindowedCodec
from fobench_plugins.devices import usable

Make = Callable[["LoadedCodec"], Any]


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture: its model type, its usual weights, how many codebooks are used unless asked, how it is coded with."""

    kind: str  # transformers' model_type, and the codec's name
    weights: hub.HubModel
    what: str
    codebooks: int | None  # None: all
    make: Make


@dataclass(frozen=True, slots=True)
class LoadedCodec:
    """A loaded model, frozen, with the number of codebooks in use; `weights` says where they are from, for the record."""

    kind: str
    net: Any
    codebooks: int
    weights: str

    def about(self) -> dict[str, Any]:
        return {"codec": self.kind, "weights": self.weights, "codebooks": self.codebooks}


def factory(family: Family) -> Callable[..., Any]:
    """The codec plugin of a family."""

    def make(
        *,
        model: str = family.weights.repo,
        codebooks: int | None = family.codebooks,
        random: bool = False,
        seed: int = 0,
        device: str = "cpu",
        threads: int | None = None,
        offline: bool = False,
    ) -> Any:
        torch, transformers = _libraries()
        if threads is not None:
            torch.set_num_threads(threads)
        if random:
            net, told = _drawn(torch, transformers, family.kind, seed), f"random weights, seed {seed}"
        else:
            net, told = _loaded(transformers, family, model, offline), model
        have = net.config.num_codebooks if family.kind == "mimi" else _codebooks(net.config)
        used = have if codebooks is None else codebooks
        if not 0 < used <= have:
            raise FobenchError(f"Codec {family.kind!r}: codebooks={used}; {told} has {have}, so 1 to {have}.")
        return family.make(LoadedCodec(family.kind, net.to(usable(device)).eval().requires_grad_(False), used, told))

    make.__doc__ = (
        f"{family.what}\n\n`model`: a repository of the hub or a folder. `codebooks`: how many of its codebooks are used. "
        "`random`: weights drawn from `seed`, with which sound comes back as noise."
    )
    return make


class TransformersCodec:
    """A model of transformers as a codec of whole recordings; `encode`'s codebooks are cut to those in use."""

    def __init__(self, model: LoadedCodec) -> None:
        config = model.net.config
        if getattr(config, "audio_channels", 1) != 1 or getattr(config, "normalize", False):
            raise FobenchError(
                f"Codec {model.kind!r}: {model.weights} is for stereo or loudness-scaled audio; use a mono one."
            )
        self.sample_rate_hz: int = getattr(config, "sampling_rate", None) or config.sample_rate
        self.hop: int = int(config.hop_length)
        self.num_codebooks, self.cardinality = model.codebooks, int(config.codebook_size)
        self._model = model

    def about(self) -> dict[str, Any]:
        return self._model.about()

    def encode(self, audio: Samples) -> Codes:
        import torch

        with torch.no_grad():
            codes = self._model.net.encode(self._on(audio)[None, None], **self._most()).audio_codes
        whole: Codes = codes.reshape(-1, codes.shape[-1])[: self.num_codebooks].cpu().numpy()  # EnCodec: [1, 1, K, F]
        return whole

    def decode(self, codes: Codes) -> Samples:
        import torch

        with torch.no_grad():
            wave = self._decoded(self._on(codes)[None])
        return np.asarray(wave.reshape(-1).float().cpu().numpy(), np.float32)

    def _most(self) -> dict[str, Any]:
        """Options with which all codebooks are coded: the first of them are the same as with fewer."""
        bandwidths = getattr(self._model.net.config, "target_bandwidths", None)
        return {"bandwidth": bandwidths[-1]} if bandwidths else {}

    def _decoded(self, codes: Any) -> Any:
        if self._model.kind == "encodec":
            return self._model.net.decode(codes[None], [None]).audio_values
        return self._model.net.decode(audio_codes=codes).audio_values

    def _on(self, array: Any) -> Any:
        import torch

        return torch.tensor(array, device=next(self._model.net.parameters()).device)


def windowed(model: LoadedCodec) -> WindowedCodec:
    return WindowedCodec(TransformersCodec(model))


def _codebooks(config: Any) -> int:
    return int(getattr(config, "n_codebooks", None) or config.num_quantizers)


def _loaded(transformers: Any, family: Family, model: str, offline: bool) -> Any:
    path = Path(model).expanduser()
    if path.is_dir() or model.startswith((".", "/", "~")):
        folder = hub.local(path)
    else:
        known = model == family.weights.repo
        folder = hub.folder(family.weights if known else _weights(model, family.kind), offline=offline, lacks=[])
    found = transformers.AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    if found != family.kind:
        raise FobenchError(f"Codec {family.kind!r}: {model} holds a model of the type {found!r}.")
    return transformers.AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)


def _weights(repo: str, kind: str) -> hub.HubModel:
    return hub.HubModel(repo, needs=("config.json",), otherwise=f"codec {kind}, model=FOLDER")


def _drawn(torch: Any, transformers: Any, kind: str, seed: int) -> Any:
    """A model of the family's usual sizes whose weights depend on the seed alone. Codebooks, which begin as zeros, are drawn too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind))
        fill(net)
    return net


def fill(net: Any) -> None:
    """Draws the codebooks that are all zeros: else every frame had the same code."""
    for name, tensor in net.state_dict().items():
        if name.endswith(("embed", "embed_sum")) and not tensor.any():
            tensor.normal_()


def _libraries() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise PrerequisiteError(f"{error.name} is not installed. Get it: pip install 'fobench[models]'") from error
    return torch, transformers


def weights(repo: str, kind: str, parameters: float | None, licence: str) -> hub.HubModel:
    """A codec's usual weights: `parameters` in 1e9, held as float32."""
    return hub.HubModel(
        repo, parameters, licence, needs=("config.json",), otherwise=f"codec {kind}, model=FOLDER", bytes_each=4
    )
