"""Pinned files arrive whole or not at all; conversions are built once; what cannot be had is told with the way out."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import BinaryIO

import pytest

from fobench.assets import store, wheels
from fobench.errors import FobenchError, PrerequisiteError

MODEL, TEXT = b"weights " * 500, b'{"a": 1}'
TABLE = """
[tiny]
what = "a tiny model"
licence = "MIT"
[[tiny.files]]
name = "model.bin"
size = {model_size}
sha256 = "{model_sha}"
hub = {{ repo = "some/body", revision = "main", path = "model.bin" }}
wheel = [
    {{ distribution = "tiny-one", version = "1.0", path = "tiny_one/part.bin" }},
    {{ distribution = "tiny-two", version = "1.0", path = "tiny_two/part.bin" }},
]
[[tiny.files]]
name = "text.json"
size = {text_size}
sha256 = "{text_sha}"
wheel = [{{ distribution = "tiny-one", version = "1.0", path = "tiny_one/text.json" }}]
"""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(links: Path, name: str, members: dict[str, bytes]) -> None:
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    with zipfile.ZipFile(links / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for member, data in {**members, f"{name}-1.0.dist-info/METADATA": metadata}.items():
            archive.writestr(member, data)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty `hub`, a `links` folder of wheels, an empty `home`, and the asset `tiny`."""
    for name in ("hub", "links"):
        (tmp_path / name).mkdir()
    wheel(tmp_path / "links", "tiny_one", {"tiny_one/part.bin": MODEL[:3000], "tiny_one/text.json": TEXT})
    wheel(tmp_path / "links", "tiny_two", {"tiny_two/part.bin": MODEL[3000:]})
    pins = {"model_size": len(MODEL), "model_sha": digest(MODEL), "text_size": len(TEXT), "text_sha": digest(TEXT)}
    (tmp_path / "table.toml").write_text(TABLE.format(**pins))
    settings = {"FOBENCH_HOME": tmp_path / "home", "FOBENCH_ASSETS": tmp_path / "table.toml", "FOBENCH_OFFLINE": ""}
    settings |= {"HF_ENDPOINT": (tmp_path / "hub").as_uri(), "HF_HUB_OFFLINE": ""}
    settings |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": tmp_path / "links"}
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path


def on_hub(world: Path, data: bytes) -> None:
    path = world / "hub/some/body/resolve/main/model.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


def by_hand(world: Path) -> Path:
    folder = world / "home/assets/tiny"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(MODEL)
    (folder / "text.json").write_bytes(TEXT)
    return folder


def test_the_built_in_table_reads_and_pins_every_file() -> None:
    table = store.table()
    assert {"smollm2-135m-gguf", "whisper-tiny.en-ct2", "piper-joe-medium", "silero-vad"} <= set(table)
    assert [len(file.wheel) for file in table["kokoro-82m-int8"].files] == [4, 1, 1]
    assert not table["qwen2.5-coder-0.5b-gguf"].default
    assert all(file.hub or file.wheel for asset in table.values() for file in asset.files)


@pytest.mark.subprocess
def test_files_come_from_the_mirror_in_order_and_nothing_else_is_left(world: Path) -> None:
    folder = store.get("tiny")
    assert folder == world / "home/assets/tiny"
    assert (folder / "model.bin").read_bytes() == MODEL
    assert (folder / "text.json").read_bytes() == TEXT
    assert list((world / "home/downloads").iterdir()) == []


@pytest.mark.subprocess
def test_the_hub_is_asked_first(world: Path) -> None:
    on_hub(world, MODEL)
    (world / "links/tiny_two-1.0-py3-none-any.whl").unlink()
    assert (store.get("tiny") / "model.bin").read_bytes() == MODEL


@pytest.mark.subprocess
def test_another_file_on_the_hub_gives_way_to_the_mirror_with_a_notice(
    world: Path, caplog: pytest.LogCaptureFixture
) -> None:
    on_hub(world, MODEL[::-1])
    assert (store.get("tiny") / "model.bin").read_bytes() == MODEL
    assert "hub some/body@main/model.bin: the bytes received do not have the expected SHA-256" in caplog.text


@pytest.mark.subprocess
def test_a_tampered_wheel_is_refused_and_not_left(world: Path) -> None:
    wheel(world / "links", "tiny_two", {"tiny_two/part.bin": MODEL[3000:].swapcase()})
    with pytest.raises(PrerequisiteError, match=r"refused: SHA-256 [0-9a-f]{64}, not the pinned"):
        store.get("tiny")
    assert not [path for path in (world / "home").rglob("*") if path.is_file() and not path.name.startswith(".")]


def test_a_verified_file_is_not_hashed_again_until_it_changes(world: Path) -> None:
    folder = by_hand(world)
    store.get("tiny", offline=True)
    record = json.loads((folder / ".verified.json").read_text())
    assert record["text.json"]["sha256"] == digest(TEXT)
    (folder / "model.bin").write_bytes(MODEL[::-1])
    with pytest.raises(PrerequisiteError, match="the existing file is refused"):
        store.get("tiny", offline=True)


@pytest.mark.subprocess
def test_what_a_process_has_asked_for_is_told_with_its_hash(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_used", {})
    with pytest.raises(PrerequisiteError):
        store.get("tiny", offline=True)
    assert store.used() == {}
    store.get("tiny")
    lines = f"{digest(MODEL)}  model.bin\n{digest(TEXT)}  text.json"
    assert store.used() == {"tiny": digest(lines.encode())}


@pytest.mark.subprocess
def test_a_damaged_file_is_found_by_verify_and_fetched_anew(world: Path) -> None:
    path = store.get("tiny") / "text.json"
    times = path.stat()
    path.write_bytes(TEXT[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # rot that leaves no trace
    assert store.missing("tiny") == []
    assert [problem.path for problem in store.verify("tiny")] == [path]
    assert (store.get("tiny") / "text.json").read_bytes() == TEXT
    assert store.verify("tiny") == []


def test_offline_the_message_names_file_sources_place_and_hash(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOBENCH_OFFLINE", "1")
    with pytest.raises(PrerequisiteError) as caught:
        store.get("tiny")
    assert str(caught.value).splitlines() == [
        "model.bin (0.0 MB) of the asset 'tiny' is missing and cannot be downloaded:",
        "  hub some/body@main/model.bin: not tried, offline",
        "  mirror tiny-one==1.0, tiny-two==1.0: not tried, offline",
        f"To install it by hand: {world / 'home/assets/tiny/model.bin'}",
        f"  SHA-256 {digest(MODEL)}",
    ]


@pytest.mark.subprocess
def test_with_no_source_in_reach_each_ones_reason_is_told(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (world / "links/tiny_one-1.0-py3-none-any.whl").unlink()
    with pytest.raises(PrerequisiteError) as caught:
        store.get("tiny")
    assert "Connection refused" in str(caught.value)
    assert "no configured package index offers tiny-one==1.0" in str(caught.value)


def test_an_unknown_name_is_told_with_the_nearest(world: Path) -> None:
    with pytest.raises(FobenchError, match=r"Did you mean 'tiny'"):
        store.get("tinny")


@pytest.mark.subprocess
def test_pull_goes_on_after_a_failure_and_tells_it(world: Path) -> None:
    text = (world / "table.toml").read_text()
    (world / "more.toml").write_text(text.replace("[tiny]", "[lost]").replace("[[tiny.", "[[lost.").replace("-o", "-x"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOBENCH_ASSETS", f"{world / 'table.toml'}:{world / 'more.toml'}")
        with pytest.raises(PrerequisiteError, match="asset 'lost'"):
            store.pull(["lost", "tiny"])
    assert store.missing("tiny") == []


def test_the_listing_says_what_is_here(world: Path) -> None:
    def state() -> str:
        return next(row["state"] for row in store.ls_rows() if row["name"] == "tiny")

    assert state() == "missing"
    folder = by_hand(world)
    assert state() == "present"
    (folder / "text.json").unlink()
    assert state() == "partial"
    assert [file.name for file in store.missing("tiny")] == ["text.json"]


def full(path: Path) -> BinaryIO:
    """The file of a full disk, in place of the one at `path`."""
    path.touch()
    return Path("/dev/full").open("wb")


@pytest.mark.subprocess
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_and_nothing_counts(world: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wheels, "open_new", full)
        with pytest.raises(PrerequisiteError, match=r"No space left.*FOBENCH_HOME"):
            store.get("tiny")
    assert len(store.missing("tiny")) == 2
    assert (store.get("tiny") / "model.bin").read_bytes() == MODEL  # the wheels were kept for this


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "text.json"', 'name = "../text.json"'),
        ("tiny_one/text.json", "../text.json"),
        ('distribution = "tiny-one"', 'distribution = "../tiny"'),
        ('distribution = "tiny-one"', 'distribution = "--target=x"'),
        ('version = "1.0"', 'version = "1.0/../../x"'),
        ("[tiny]", "[tiny]\ncolour = 1"),
        ('what = "a tiny model"', ""),
        (digest(TEXT), "abc"),
    ],
)
def test_a_table_with_a_fault_is_refused(world: Path, old: str, new: str) -> None:
    path = world / "table.toml"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(FobenchError, match="is not a table of assets"):
        store.table()


def test_a_name_in_two_tables_is_refused(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "twin.toml").write_text((world / "table.toml").read_text())
    monkeypatch.setenv("FOBENCH_ASSETS", f"{world / 'table.toml'}:{world / 'twin.toml'}")
    with pytest.raises(FobenchError, match="'tiny' is already in another table"):
        store.table()


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOBENCH_HOME", str(tmp_path / "a"))
    assert store.home() == tmp_path / "a"
    monkeypatch.delenv("FOBENCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert store.home() == tmp_path / "b/fobench"


def test_a_conversion_is_built_once_and_named_after_its_source(world: Path) -> None:
    source = world / "source.bin"
    source.write_bytes(MODEL)
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "out").write_bytes(b"done")

    folder = store.converted("thing-v1", source, build)
    assert folder == world / f"home/converted/thing-v1-{digest(MODEL)[:12]}"
    assert store.converted("thing-v1", source, build) == folder
    assert (folder / "out").read_bytes() == b"done"
    assert len(built) == 1
    source.write_bytes(TEXT)
    assert store.converted("thing-v1", source, build) != folder


def test_an_assets_conversion_is_named_after_its_pins(world: Path) -> None:
    asset = store.table()["tiny"]
    pins = f"{digest(MODEL)}  model.bin\n{digest(TEXT)}  text.json".encode()
    folder = store.converted("thing", asset, lambda folder: None)
    assert folder.name == f"thing-{digest(pins)[:12]}"
    by_hand(world)
    assert store.converted("thing", asset.folder, lambda folder: None) == folder


def test_a_build_that_raises_leaves_nothing(world: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_bytes(b"half")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        store.converted("thing", store.table()["tiny"], build)
    assert [path for path in (world / "home/converted").iterdir() if path.is_dir()] == []


SLOW_BUILD = """
import sys, time
from pathlib import Path
from fobench.assets import store

def build(folder):
    (folder / "half").write_text("half")
    with Path(sys.argv[1]).open("a") as log:
        log.write("built\\n")
    time.sleep(float(sys.argv[2]))

store.converted("thing", store.table()["tiny"], build)
"""


def slow_build(world: Path, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SLOW_BUILD, str(world / "log"), str(seconds)])


@pytest.mark.subprocess
def test_a_killed_build_leaves_nothing_that_counts(world: Path) -> None:
    process = slow_build(world, 60)
    while not (world / "log").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = store.converted("thing", store.table()["tiny"], lambda folder: None)
    assert list(folder.iterdir()) == []
    assert [path for path in folder.parent.iterdir() if path.is_dir()] == [folder]


@pytest.mark.subprocess
def test_two_processes_at_once_build_once(world: Path) -> None:
    processes = [slow_build(world, 0.3) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert (world / "log").read_text() == "built\n"
