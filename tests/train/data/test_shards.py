import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fobench.errors import FobenchError
from reference_model.train.data import shards
from reference_model.train.data.shards import PackedClip
from reference_model.train.engine.skipped_samples import SkippedSamples

TONE = (0.5 * np.sin(np.arange(1600) / 5)).astype(np.float32)


def packed(name: str, **info: object) -> PackedClip:
    return PackedClip(name, shards.encoded(TONE, 16000), {"text": f"this is {name}", **info})


def names(path: Path, faults: SkippedSamples) -> list[str]:
    return [clip.id for clip in shards.read(path, faults)]


def test_a_shard_is_read_as_it_was_written(tmp_path: Path) -> None:
    shards.write(tmp_path / "train-00000.tar", [packed("a", split="train"), packed("b")])
    faults = SkippedSamples()
    first, second = shards.read(tmp_path / "train-00000.tar", faults)
    assert (first.id, first.info, second.id) == ("a", {"text": "this is a", "split": "train"}, "b") and not len(faults)
    assert first.audio.rate_hz == 16000 and np.abs(first.audio.samples - TONE).max() < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["train-00000.tar"]


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


def test_broken_clips_are_skipped_counted_and_listed(tmp_path: Path) -> None:
    path = tmp_path / "train-00000.tar"
    bad = [PackedClip("noise", b"fLaC nothing", {"text": "x"}), PackedClip("mute", shards.encoded(TONE, 16000), {})]
    shards.write(path, [packed("a"), *bad, packed("b")])
    with tarfile.open(path, "a") as tar:
        shards._add(tar, "alone.flac", shards.encoded(TONE, 16000))
        shards._add(tar, "text.json", json.dumps({"text": "x"}).encode())
        shards._add(tar, "torn.flac", shards.encoded(TONE, 16000))
        shards._add(tar, "torn.json", b"{")
    faults = SkippedSamples()
    assert names(path, faults) == ["a", "b"]
    assert [where.split("/")[1] for where, _ in faults.found] == ["noise", "mute", "alone", "text", "torn"]
    assert "train-00000.tar/mute: no text in its .json" in str(faults)


@pytest.mark.parametrize("keep", [0, 100, 1500, 4000])
def test_a_torn_tar_gives_what_is_whole(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "train-00000.tar"
    shards.write(path, [packed(name) for name in "abc"])
    path.write_bytes(path.read_bytes()[:keep])
    faults = SkippedSamples()
    assert names(path, faults) == list("abc")[: len(names(path, SkippedSamples()))]
    assert len(faults) >= 1 and "train-00000.tar" in str(faults)


def test_a_reader_goes_on_after_the_clips_it_has_seen(tmp_path: Path) -> None:
    shards.write(tmp_path / "train-00000.tar", [packed("a"), packed("b")])
    shards.write(tmp_path / "train-00001.tar", [packed("c"), packed("d")])
    shards.write(tmp_path / "valid-00000.tar", [packed("v")])
    found = shards.paths(tmp_path)
    assert [[clip.id for clip in shards.clips(found, SkippedSamples(), skip)] for skip in range(5)] == [
        list("abcd"), list("bcd"), list("cd"), ["d"], []
    ]  # fmt: skip


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FobenchError, match=r"holds no shard valid-\*.tar"):
        shards.paths(tmp_path, "valid")
