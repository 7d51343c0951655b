"""Built-in codecs: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from typing import Any

from fobench.api.hookspecs import Factories
from fobench_plugins.codecs.codec2 import codec2
from fobench_plugins.codecs.reference import reference
from fobench_plugins.codecs.ticodec import ticodec
from fobench_plugins.codecs.transformers_codecs import Family, LoadedCodec, factory, weights, windowed


def _streaming(model: LoadedCodec) -> Any:
    from fobench_plugins.codecs.mimi import MimiCodec

    return MimiCodec(model)


FAMILIES = (
    Family(
        "mimi",
        weights("kyutai/mimi", "mimi", 0.096, "CC-BY-4.0"),
        "Mimi at 24 kHz, 12.5 frames/s: the codec of Moshi; streams frame by frame.",
        8,
        _streaming,
    ),
    Family(
        "encodec",
        weights("facebook/encodec_24khz", "encodec", 0.023, ""),
        "EnCodec at 24 kHz, 75 frames/s (8 codebooks: 6 kbit/s); transformers cannot stream it, so windows overlap.",
        8,
        windowed,
    ),
    Family(
        "dac",
        weights("descript/dac_44khz", "dac", 0.077, "MIT"),
        "Descript audio codec at 44.1 kHz, 86 frames/s (also model=descript/dac_24khz, dac_16khz); windows overlap.",
        None,
        windowed,
    ),
    Family(
        "xcodec",
        weights("hf-audio/xcodec-hubert-librispeech", "xcodec", None, "MIT"),
        "X-Codec at 16 kHz, 50 frames/s, with HuBERT inside; windows overlap.",
        None,
        windowed,
    ),
)

FACTORIES: Factories = {
    "reference": reference,
    "ticodec": ticodec,
    "codec2": codec2,
    **{family.kind: factory(family) for family in FAMILIES},
}
