"""The reference codec (`reference_model.codec.reference_codec`) under the `Codec` contract, with numpy arrays."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fobench import compute_threads
from fobench.api import registry
from fobench.api.option_ranges import Seed, Threads
from fobench.api.types import Samples
from fobench.errors import FobenchError, PrerequisiteError
from fobench_plugins.devices import usable

if TYPE_CHECKING:
    from reference_model.codec.exact_streaming import WindowState
    from reference_model.codec.reference_codec import ReferenceCodec


def reference(
    *,
    checkpoint: str = "",
    random: bool = False,
    seed: Seed = 0,
    device: str = "cpu",
    threads: Threads | None = None,
) -> NumpyCodec:
    """The codec of the reference model, from a checkpoint or with random weights.

    `checkpoint`: a .safetensors file of a codec, or a Freeze-Omni checkpoint that contains one: its name (fobench ls
    checkpoints), file or folder. `random`: random weights drawn from `seed`; the output is noise. `device`: "cpu",
    "cuda", "cuda:1". `threads`: torch's threads (None: one, or OMP_NUM_THREADS). Raises FobenchError unless exactly one of `checkpoint` and `random` is
    given, PrerequisiteError without torch.
    """
    if bool(checkpoint) == random:
        raise FobenchError(
            "The codec reference takes checkpoint=NAME (freeze-omni/any) or FILE, or random=true for random "
            "weights: exactly one of the two."
        )
    try:
        import torch

        from reference_model.checkpoint import safetensors_io, sharded
        from reference_model.codec.reference_codec import CodecConfig, ReferenceCodec
    except ImportError as error:
        raise PrerequisiteError(f"{error.name} is not installed. Get it: pip install 'fobench[models]'") from error
    compute_threads.settle_torch(torch, threads)
    device = usable(device)
    if random:
        return NumpyCodec(random_codec(CodecConfig(), seed).to(device), f"random weights, seed {seed}")
    is_name = checkpoint in registry.factories("checkpoints")
    path = registry.create("checkpoints", checkpoint) if is_name else Path(checkpoint).expanduser()
    config, tensors = (sharded if sharded.is_folder(path) else safetensors_io).load(path, device=device)
    if "codec" in config:  # a checkpoint of the complete model
        config, tensors = config["codec"], safetensors_io.part(tensors, "codec")
        if (kind := config.get("kind", "reference")) != "reference":
            raise FobenchError(f"The codec in {checkpoint} is of the kind {kind!r}: use the codec ticodec.")
        config = {key: value for key, value in config.items() if key != "kind"}
    codec = ReferenceCodec(CodecConfig.from_json(config)).to(device)
    safetensors_io.fill(codec, tensors, path)
    return NumpyCodec(codec, checkpoint)


def random_codec(config: Any, seed: int) -> ReferenceCodec:
    """A codec with weights determined by the seed; the global random state is unchanged."""
    import torch

    from reference_model.codec.reference_codec import ReferenceCodec

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ReferenceCodec(config)


class NumpyCodec:
    """A frozen `ReferenceCodec`. States are immutable, so that a state can be passed to several calls (a fork)."""

    def __init__(self, codec: ReferenceCodec, weights: str) -> None:
        """`weights`: their source, for `about`."""
        self._codec = codec.eval().requires_grad_(False)
        self._weights = weights
        config = codec.config
        self.sample_rate_hz = config.sample_rate_hz
        self.frame_rate_hz = config.frame_rate_hz
        self.num_codebooks = config.codebooks
        self.cardinality = config.cardinality

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {"codec": "reference", "weights": self._weights, "config": asdict(self._codec.config)}

    def encode(
        self, audio: Samples, state: WindowState | None = None, last: bool = False
    ) -> tuple[npt.NDArray[np.int64], WindowState]:
        """[T] -> [K, F], the codes that are final so far; with `last`, an incomplete frame is zero-padded."""
        codes, state = self._codec.encode_step(self._tensor(audio, np.float32)[None], state, last)
        return codes[0].cpu().numpy(), state

    def decode(
        self, codes: npt.NDArray[np.int64], state: tuple[WindowState, ...] | None = None, last: bool = False
    ) -> tuple[Samples, tuple[WindowState, ...]]:
        """[K, F] -> [T], the samples that are final so far."""
        audio, state = self._codec.decode_step(self._tensor(codes, np.int64)[None], state, last)
        return audio[0].float().cpu().numpy(), state

    def _tensor(self, array: npt.NDArray[Any], dtype: Any) -> Any:
        import torch

        return torch.tensor(np.asarray(array, dtype=dtype), device=self._codec.quantizer.codebooks.device)
