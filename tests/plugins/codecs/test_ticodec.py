"""plugins/codecs/ticodec.py: the codec contract with its own small network, and the authors' file with the published numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fobench.api import registry
from fobench.conformance.codecs import codec_probes
from fobench.errors import FobenchError, PrerequisiteError
from fobench_plugins.codecs.ticodec import OfflineTiCodec
from fobench_plugins.codecs.windowed_streaming import WindowedCodec
from reference_model.checkpoint.published.codec_keys import ENTRIES
from reference_model.checkpoint.published.codec_loader import load
from reference_model.codec.hifigan import GeneratorConfig
from reference_model.codec.ticodec import GENERATOR, TiCodec, TiCodecConfig
from tests.support.golden_data import golden, meta, weights
from tests.support.published_weights import formula_weights

SMALL = TiCodecConfig(
    cardinality=64,
    voice=tuple(range(8)),
    generator=GeneratorConfig(8, 32, (8, 5, 5, 3), (16, 11, 11, 5), (3,), ((1,),), global_size=16),
    with_encoder=True,
)


@pytest.fixture(scope="module")
def probes():
    torch.manual_seed(0)
    return dict(codec_probes(WindowedCodec(OfflineTiCodec(TiCodec(SMALL), "random weights"))))


@pytest.mark.parametrize("name", [name for name, _ in codec_probes(None)])
def test_ticodec_passes_the_conformance_suite(probes, name):
    probes[name]()


def written(folder, tensors):
    """codec/final.pt as the authors wrote it."""
    entries = {
        entry: {key.removeprefix(f"{entry}."): value for key, value in tensors.items() if key.startswith(f"{entry}.")}
        for entry in ENTRIES
    }
    (folder / "codec").mkdir()
    torch.save(entries, folder / "codec" / "final.pt")
    return folder


def test_the_authors_file_alone_speaks_as_theirs_does(tmp_path):
    h, widths, numbers = meta("codec")["h"], meta("codec")["patched_widths"], golden("codec")
    generator = replace(
        GENERATOR, inputs=widths["local"], channels=h["upsample_initial_channel"], global_size=widths["global"]
    )
    config = TiCodecConfig(cardinality=h["n_codes"], generator=generator, voice=tuple(h["global_tokens"]))
    whole = OfflineTiCodec(load(written(tmp_path, weights("codec", "")), config), "theirs")
    wave = whole.decode(numbers["in/tokens"][None].numpy())
    np.testing.assert_allclose(wave, numbers["out/wave_whole"].numpy(), atol=2e-5)


@pytest.mark.slow
def test_in_the_published_sizes(tmp_path):
    """60 M parameters by a formula, there and back."""
    codec = registry.create("codecs", "ticodec", {"checkpoint": str(written(tmp_path, formula_weights("codec.")))})
    assert (codec.frame_rate_hz, codec.num_codebooks, codec.cardinality) == (40.0, 1, 1024)
    sound = (0.1 * np.random.default_rng(0).standard_normal(24_000)).astype(np.float32)
    codes, _ = codec.encode(sound, last=True)
    assert codes.shape == (1, 40)
    assert codec.decode(codes, last=True)[0].shape == (24_000,)


def test_a_folder_without_the_codec_file_and_a_misspelt_option_are_refused(tmp_path):
    with pytest.raises(PrerequisiteError, match=r"holds no codec/final\.pt"):
        registry.create("codecs", "ticodec", {"checkpoint": str(tmp_path)})
    with pytest.raises(FobenchError, match="Choices: checkpoint, device, random"):
        registry.create("codecs", "ticodec", {"checkpiont": "x"})
    written(tmp_path, {})
    with pytest.raises(FobenchError, match="it lacks"):
        registry.create("codecs", "ticodec", {"checkpoint": str(tmp_path)})


def test_the_weights_are_named_where_they_are_not_here(monkeypatch):
    from fobench_plugins import checkpoints

    monkeypatch.setattr(checkpoints, "_cached_folder", lambda: None)
    with pytest.raises(PrerequisiteError, match=r"codec/final\.pt.*\n.*hf download VITA-MLLM/Freeze-Omni"):
        registry.create("codecs", "ticodec")
