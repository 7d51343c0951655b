"""Neural codecs of transformers, from the Hugging Face hub or a folder: EnCodec, DAC, X-Codec, and the loading of
Mimi.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fobench import compute_threads
from fobench.api.option_ranges import Few, Seed, Threads
from fobench.api.types import Samples
from fobench.assets import hub
from fobench.errors import FobenchError, PrerequisiteError
from fobench_plugins import transformers_weights
from fobench_plugins.codecs.windowed_streaming import Codes, WindowedCodec
from fobench_plugins.devices import usable

Make = Callable[["LoadedCodec"], Any]


@dataclass(frozen=True, slots=True)
class CodecArchitecture:
    """One codec architecture: its model type, default weights, default number of codebooks, and constructor."""

    kind: str  # transformers' model_type, and the codec's name
    weights: hub.HubModel
    description: str
    codebooks: int | None  # None: all
    make: Make


@dataclass(frozen=True, slots=True)
class LoadedCodec:
    """A loaded, frozen model, and the number of codebooks in use; `weights` names their source."""

    kind: str
    net: Any
    codebooks: int
    weights: str

    def about(self) -> dict[str, Any]:
        return {"codec": self.kind, "weights": self.weights, "codebooks": self.codebooks}


def factory(architecture: CodecArchitecture) -> Callable[..., Any]:
    """The codec factory of an architecture."""

    def make(
        *,
        model: str = architecture.weights.repo,
        codebooks: Few | None = architecture.codebooks,
        random: bool = False,
        seed: Seed = 0,
        device: str = "cpu",
        threads: Threads | None = None,
        offline: bool = False,
    ) -> Any:
        torch, transformers = _libraries()
        compute_threads.settle_torch(torch, threads)
        if random:
            net, origin = _random_model(torch, transformers, architecture.kind, seed), f"random weights, seed {seed}"
        else:
            net, origin = _load_model(transformers, architecture, model, offline), model
        available = net.config.num_codebooks if architecture.kind == "mimi" else _codebooks(net.config)
        used = available if codebooks is None else codebooks
        if not 0 < used <= available:
            raise FobenchError(
                f"Codec {architecture.kind!r}: codebooks={used}; {origin} has {available}, so 1 to {available}."
            )
        return architecture.make(
            LoadedCodec(architecture.kind, net.to(usable(device)).eval().requires_grad_(False), used, origin)
        )

    make.__doc__ = (
        f"{architecture.description}\n\n`model`: a repository of the Hugging Face hub or a folder. `codebooks`: number of "
        "codebooks used. "
        "`random`: random weights drawn from `seed`; the output is noise."
    )
    return make


class TransformersCodec:
    """A model of transformers as an offline codec; `encode` returns the codebooks in use."""

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
            codes = self._model.net.encode(self._to_device(audio)[None, None], **self._encode_options()).audio_codes
        codes = codes.reshape(-1, codes.shape[-1])  # [K, F], of EnCodec's [1, 1, K, F]
        used: Codes = codes[: self.num_codebooks].cpu().numpy()
        return used

    def decode(self, codes: Codes) -> Samples:
        import torch

        with torch.no_grad():
            wave = self._decode_tensor(self._to_device(codes)[None])
        return np.asarray(wave.reshape(-1).float().cpu().numpy(), np.float32)

    def _encode_options(self) -> dict[str, Any]:
        """Options that encode all codebooks; the first ones do not depend on the number of codebooks."""
        bandwidths = getattr(self._model.net.config, "target_bandwidths", None)
        return {"bandwidth": bandwidths[-1]} if bandwidths else {}

    def _decode_tensor(self, codes: Any) -> Any:
        if self._model.kind == "encodec":
            return self._model.net.decode(codes[None], [None]).audio_values
        return self._model.net.decode(audio_codes=codes).audio_values

    def _to_device(self, array: Any) -> Any:
        import torch

        return torch.tensor(array, device=next(self._model.net.parameters()).device)


def windowed(model: LoadedCodec) -> WindowedCodec:
    return WindowedCodec(TransformersCodec(model))


def _codebooks(config: Any) -> int:
    return int(getattr(config, "n_codebooks", None) or config.num_quantizers)


def _load_model(transformers: Any, architecture: CodecArchitecture, model: str, offline: bool) -> Any:
    path = Path(model).expanduser()
    if path.is_dir() or model.startswith((".", "/", "~")):
        folder = hub.local(path)
    else:
        is_default = model == architecture.weights.repo
        folder = hub.folder(
            architecture.weights if is_default else _weights(model, architecture.kind), offline=offline, lacks=[]
        )
    found = transformers_weights.read_config(folder).get("model_type")
    if found != architecture.kind:
        raise FobenchError(f"Codec {architecture.kind!r}: {model} contains a model of the type {found!r}.")
    return transformers_weights.load(transformers.AutoModel, folder, f"codec {model}")


def _weights(repo: str, kind: str) -> hub.HubModel:
    return hub.HubModel(repo, needs=("config.json",), otherwise=f"codec {kind}, model=FOLDER")


def _random_model(torch: Any, transformers: Any, kind: str, seed: int) -> Any:
    """A model of the default size with weights determined by the seed, codebooks included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind))
        draw_zero_codebooks(net)
    return net


def draw_zero_codebooks(net: Any) -> None:
    """Draws random values for all-zero codebooks, with which every frame would get the same code."""
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


def weights(repo: str, kind: str, parameters: float | None, license: str) -> hub.HubModel:
    """The default weights of a codec; `parameters` in 1e9, stored as float32."""
    return hub.HubModel(
        repo, parameters, license, needs=("config.json",), otherwise=f"codec {kind}, model=FOLDER", bytes_each=4
    )
