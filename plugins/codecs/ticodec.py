"""TiCodec, the codec of the published Freeze-Omni, from the authors' checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fobench import compute_threads
from fobench.api import registry
from fobench.api.option_ranges import Seed, Threads
from fobench.api.types import Samples
from fobench.errors import PrerequisiteError
from fobench_plugins.codecs.windowed_streaming import Codes, WindowedCodec
from fobench_plugins.devices import usable

if TYPE_CHECKING:
    from reference_model.codec.ticodec import TiCodec

PUBLISHED = "freeze-omni/qwen2-7b"  # name in `fobench ls checkpoints`


def ticodec(
    *,
    checkpoint: str = PUBLISHED,
    random: bool = False,
    seed: Seed = 0,
    device: str = "cpu",
    threads: Threads | None = None,
) -> WindowedCodec:
    """The published Freeze-Omni's codec (TiCodec, arXiv 2310.00014): 24 kHz, 40 frames/s of one codebook (400 bit/s).

    It always decodes to the published voice, which the codes do not contain. Its encoder normalizes over time, so that
    it runs in overlapping windows. `checkpoint`: a name (fobench ls checkpoints), or a folder with the authors'
    codec/final.pt. `random`: random weights drawn from `seed`; the output is noise. Raises PrerequisiteError if the
    file is missing.
    """
    try:
        import torch

        from reference_model.checkpoint.published.codec_loader import load
        from reference_model.codec.ticodec import TiCodec, TiCodecConfig
    except ImportError as error:
        raise PrerequisiteError(f"{error.name} is not installed. Get it: pip install 'fobench[models]'") from error
    compute_threads.settle_torch(torch, threads)
    if random:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            codec = TiCodec(TiCodecConfig(with_encoder=True))
        return WindowedCodec(OfflineTiCodec(codec.to(usable(device)), f"random weights, seed {seed}"))
    folder = registry.create("checkpoints", checkpoint) if checkpoint == PUBLISHED else Path(checkpoint).expanduser()
    return WindowedCodec(OfflineTiCodec(load(folder).to(usable(device)), checkpoint))


class OfflineTiCodec:
    """A frozen `TiCodec` with its encoder, as an offline codec."""

    def __init__(self, codec: TiCodec, weights: str) -> None:
        """`weights`: their source, for `about`."""
        self._codec, self._weights = codec.eval().requires_grad_(False), weights
        self.sample_rate_hz, self.hop = codec.sample_rate_hz, codec.config.hop
        self.num_codebooks, self.cardinality = codec.config.num_codebooks, codec.config.cardinality

    def about(self) -> dict[str, Any]:
        return {"codec": "ticodec", "weights": self._weights, "voice": list(self._codec.config.voice)}

    def encode(self, audio: Samples) -> Codes:
        import torch

        codes, _ = self._codec.encode(torch.tensor(audio, device=self._codec.device)[None])
        code_array: Codes = codes[0].cpu().numpy()
        return code_array

    def decode(self, codes: Codes) -> Samples:
        import torch

        wave = self._codec.decode(torch.tensor(codes, device=self._codec.device)[None])
        return np.asarray(wave[0].float().cpu().numpy(), np.float32)
