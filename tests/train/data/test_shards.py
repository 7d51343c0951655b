import tarfile
from pathlib import Path

import numpy as np
import pytest

from fobench.errors import FobenchError
from reference_model.train.data import shards
from reference_model.train.data.shards import PackedClip

TONE = (0.5 * np.sin(np.arange(1600) / 5)).astype(np.float32)


def packed(name: str, **info: object) -> PackedClip:
    return PackedClip(name, shards.encode_flac(TONE, 16000), {"text": f"this is {name}", **info})


def test_the_same_clips_make_the_same_bytes_in_the_webdataset_layout(tmp_path: Path) -> None:
    for name in ("one.tar", "two.tar"):
        shards.write(tmp_path / name, [packed("a")])
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert tar.getnames() == ["a.flac", "a.json"]


def test_a_shard_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def broken():
        yield packed("a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.write(tmp_path / "train-00000.tar", broken())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FobenchError, match=r"holds no shard valid-\*.tar"):
        shards.paths(tmp_path, "valid")
