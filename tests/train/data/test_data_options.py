"""The data options of a stage: sources of the hub are accepted by name, folders of noises must hold some."""

from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from fobench.errors import FobenchError
from reference_model.train.data.augmentation import Sounds
from reference_model.train.data.data_options import with_sources

RATE = 16_000


@click.command()
@with_sources
def stage(sources):
    print(*sources.data, *sources.valid)


def test_a_data_set_of_the_hub_is_a_source(tmp_path):
    done = CliRunner().invoke(stage, ["--data", "hub:me/mine", "--data", str(tmp_path), "--valid", "hub:me/mine:clean"])
    assert done.output.split() == ["hub:me/mine", str(tmp_path), "hub:me/mine:clean"]


@pytest.mark.parametrize("option", ["--data", "--real", "--valid"])
def test_any_other_source_must_exist(option):
    done = CliRunner().invoke(stage, ["--data", "hub:me/mine", option, "nowhere"])
    assert done.exit_code == 2
    assert "'nowhere' does not exist" in done.output


def test_noises_are_read_in_every_format_and_mixed_down(tmp_path):
    wave = 0.3 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)
    for name in ("a.wav", "b.FLAC", "c.mp3"):
        soundfile.write(tmp_path / name, np.stack([wave, -wave], 1), RATE)
    noises = Sounds.read([tmp_path], [], RATE).noises
    assert [len(noise) for noise in noises] == [RATE] * 3
    assert min(noise.std() for noise in noises) > 0.15


def test_a_folder_without_noises_and_a_noise_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(FobenchError, match=f"{tmp_path.name} holds no audio file"):
        Sounds.read([tmp_path], [], RATE)
    Path(tmp_path / "bad.wav").write_bytes(b"no sound")
    with pytest.raises(FobenchError, match=r"bad\.wav cannot be read"):
        Sounds.read([], [tmp_path], RATE)
