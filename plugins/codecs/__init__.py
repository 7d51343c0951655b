"""Built-in codecs: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from typing import Any

from fobench.api.hookspecs import Factories
from fobench_plugins.codecs.codec2 import codec2
from fobench_plugins.codecs.reference import reference
from fobench_plugins.codecs.ticodec import ticodec
from fobench_plugins.codecs.transformers_codecs import CodecArchitecture, LoadedCodec, factory, weights, windowed


def _mimi_codec(model: LoadedCodec) -> Any:
    from fobench_plugins.codecs.mimi import MimiCodec

    return MimiCodec(model)


ARCHITECTURES = (
    CodecArchitecture(
        "mimi",
        weights("kyutai/mimi", "mimi", 0.096, "CC-BY-4.0"),
        "Mimi, the codec of Moshi (Defossez et al. 2024, arXiv 2410.00037): 24 kHz, 12.5 frames/s, streamed by frame.",
        8,
        _mimi_codec,
    ),
    CodecArchitecture(
        "encodec",
        weights("facebook/encodec_24khz", "encodec", 0.023, ""),
        "EnCodec (Defossez et al. 2022, arXiv 2210.13438): 24 kHz, 75 frames/s, 6 kbit/s with 8 codebooks; overlapping "
        "windows, as transformers cannot stream it.",
        8,
        windowed,
    ),
    CodecArchitecture(
        "dac",
        weights("descript/dac_44khz", "dac", 0.077, "MIT"),
        "DAC, the Descript Audio Codec (Kumar et al. 2023, arXiv 2306.06546): 44.1 kHz, 86 frames/s (also "
        "model=descript/dac_24khz or descript/dac_16khz); overlapping windows.",
        None,
        windowed,
    ),
    CodecArchitecture(
        "xcodec",
        weights("hf-audio/xcodec-hubert-librispeech", "xcodec", None, "MIT"),
        "X-Codec (Ye et al. 2024, arXiv 2408.17175): 16 kHz, 50 frames/s, with a HuBERT encoder; overlapping windows.",
        None,
        windowed,
    ),
)

FACTORIES: Factories = {
    "reference": reference,
    "ticodec": ticodec,
    "codec2": codec2,
    **{architecture.kind: factory(architecture) for architecture in ARCHITECTURES},
}
