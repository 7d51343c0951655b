"""Files appear whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
import re
import resource
import secrets
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.atomic_files import (
    STALE,
    atomic_path,
    file_inside,
    file_name,
    file_names,
    open_append,
    open_new,
    plain_name,
    remove_temporary,
    write_bytes,
    write_new,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_with_the_end_of_the_block(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists() and temporary.parent == tmp_path and temporary.match(STALE)
    assert target.read_bytes() == b"new" and names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_an_error_in_the_block_leaves_the_old_file_and_no_litter(tmp_path: Path, error: type[BaseException]) -> None:
    target = write_bytes(tmp_path / "a.bin", b"old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old" and names(tmp_path) == ["a.bin"]


def test_a_target_that_cannot_be_replaced_leaves_no_litter(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_bytes(tmp_path / "folder", b"new")
    assert names(tmp_path) == ["folder"]


def test_a_symbolic_link_at_the_temporary_name_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, link = tmp_path / "victim", tmp_path / ".a.bin.00.part"
    victim.write_bytes(b"precious")
    link.symlink_to(victim)
    monkeypatch.setattr(secrets, "token_hex", lambda size: "00")
    with pytest.raises(FileExistsError, match=r"a\.bin"):
        write_bytes(tmp_path / "a.bin", b"new")
    assert victim.read_bytes() == b"precious" and link.is_symlink() and not (tmp_path / "a.bin").exists()


def test_a_symbolic_link_at_the_target_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, target = tmp_path / "victim", tmp_path / "a.bin"
    victim.write_bytes(b"precious")
    target.symlink_to(victim)
    write_bytes(target, b"new")
    assert victim.read_bytes() == b"precious" and not target.is_symlink() and target.read_bytes() == b"new"


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with atomic_path(target) as first, atomic_path(target) as second:
        assert first != second
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert target.read_bytes() == b"first"  # the outer block ends last
    wanted = [bytes([i]) * 100_000 for i in range(8)]
    threads = [threading.Thread(target=write_bytes, args=(target, data)) for data in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in wanted and names(tmp_path) == ["a.bin"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_forbids_writing_is_an_oserror_with_the_files_name(tmp_path: Path) -> None:
    target = write_bytes(tmp_path / "a.bin", b"old")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError) as raised:
            write_bytes(target, b"new")
    finally:
        tmp_path.chmod(0o755)
    assert raised.value.filename == str(target) and target.read_bytes() == b"old"


def test_a_missing_folder_is_an_oserror_unless_it_is_to_be_made(tmp_path: Path) -> None:
    target = tmp_path / "no" / "folder" / "a.txt"
    with pytest.raises(FileNotFoundError) as raised:
        write_text(target, "new")
    assert raised.value.filename == str(target)
    assert write_text(target, "new", parents=True) == target and target.read_text() == "new"


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_the_permissions_are_those_of_an_ordinary_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "a.bin", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "\U0001f600" * 63])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path, name: str) -> None:
    assert write_bytes(tmp_path / name, b"new").read_bytes() == b"new" and names(tmp_path) == [name]


def test_text_is_utf_8_with_its_line_ends_as_they_are(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    assert write_text(target, "ü\r\n\n").read_bytes() == "ü\r\n\n".encode()
    with pytest.raises(UnicodeEncodeError):
        write_text(target, "\udc00")
    assert write_text(target, "\udc00", errors="replace").read_bytes() == b"?"


def test_a_file_that_must_be_new_keeps_the_one_that_is_there(tmp_path: Path) -> None:
    assert write_new(tmp_path / "a", b"first")
    assert not write_new(tmp_path / "a", b"second")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert not write_new(tmp_path / "link", b"third")
    assert (tmp_path / "a").read_bytes() == b"first" and names(tmp_path) == ["a", "link"]


def test_where_there_are_no_hard_links_a_new_file_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert write_new(tmp_path / "a", b"first") and not write_new(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first" and names(tmp_path) == ["a"]


@pytest.mark.parametrize("write", [write_bytes, write_new])
@pytest.mark.parametrize("failing", ["fsync", "write"])
def test_a_full_disk_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, bytes], object], failing: str
) -> None:
    (tmp_path / "old").write_bytes(b"old")
    target = tmp_path / ("old" if write is write_bytes else "new")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))  # SIGXFSZ is ignored by Python: EFBIG
    try:
        with pytest.raises(OSError, match=r"No space left|too large") as raised:
            write(target, b"new" * 1000)
    finally:
        if failing == "write":
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert raised.value.filename == str(target)
    assert (tmp_path / "old").read_bytes() == b"old" and names(tmp_path) == ["old"]


def test_appending_and_new_files_follow_no_link_and_wait_for_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=name):
            open_append(tmp_path / name)
    with open_new(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious" and (tmp_path / "link").read_bytes() == b"new"
    for _ in range(2):
        with open_append(tmp_path / "log") as file:
            file.write(b"line\n")
    assert (tmp_path / "log").read_bytes() == b"line\nline\n"


def test_only_temporary_files_of_this_module_are_removed(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "folder-less") as temporary:
        own = temporary.name
    (tmp_path / "sub").mkdir()
    for name in (own, f"sub/{own}", ".mine.part", "movie.part"):
        (tmp_path / name).touch()
    remove_temporary(tmp_path)
    assert names(tmp_path) == [".mine.part", "folder-less", "movie.part", "sub"] and names(tmp_path / "sub") == []


HOSTILE = [
    "",
    ".",
    "..",
    "../../x",
    "/etc/passwd",
    "a\0b",
    "x" * 5000,
    "CON",
    "nul",
    "com1.txt",
    "aux.",
    "-rf",
    "a b",
    "a\\b",
]
HOSTILE += [
    "C:\\x",
    "~root",
    "$HOME",
    "\ud800",
    "é",
    "e\u0301",
    "問題",
    "a/",
    "a//b",
    " a",
    "a ",
    "a.",
    ".a",
    "a\n",
    "\u202egnp.exe",
]
TEXTS = st.text() | st.sampled_from(HOSTILE) | st.text("aA.-_/0", max_size=4)


@given(TEXTS)
def test_any_text_makes_a_name_of_one_visible_file_on_every_platform(text: str) -> None:
    for name in (plain_name(text), file_name(text), file_names([text])[text]):
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name) and not name.endswith(".")
        assert name.split(".")[0].lower() not in ("con", "prn", "aux", "nul", "com1", "lpt9")


@given(st.lists(TEXTS, unique=True))
def test_different_texts_get_names_that_differ_in_more_than_case(texts: list[str]) -> None:
    hashed = {f"a-{'0' * 16}", file_name("A"), file_name("a/"), file_name("A").upper()}
    texts = list(dict.fromkeys([*texts, *hashed]))
    assert len({file_name(text).lower() for text in texts}) == len(texts)
    assert len({name.lower() for name in file_names(texts).values()}) == len(texts)


def test_a_name_that_needs_no_change_stays() -> None:
    assert file_name("spoken-qa_01.5") == "spoken-qa_01.5"
    assert file_names(["Candor_pause", "1"]) == {"Candor_pause": "Candor_pause", "1": "1"}
    found = file_names(["Paris", "paris"])
    assert found["paris"] == "paris" and re.fullmatch(r"Paris-[0-9a-f]{16}", found["Paris"])


def test_a_file_inside_a_folder_is_found_and_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "run/audio").mkdir(parents=True)
    for name in ("run/audio/a.flac", "secret.wav"):
        (tmp_path / name).touch()
    (tmp_path / "run/out").symlink_to(tmp_path / "secret.wav")
    (tmp_path / "run/loop").symlink_to(tmp_path / "run/loop")
    (tmp_path / "run/in").symlink_to("audio/a.flac")
    folder, found = tmp_path / "run", (tmp_path / "run/audio/a.flac").resolve()
    assert file_inside(folder, "audio/a.flac") == file_inside(folder, "in") == found
    outside = ["../secret.wav", str(tmp_path / "secret.wav"), "out", "audio/../../secret.wav"]
    for name in [*outside, "loop", "loop/x", "audio", "", ".", "a\0b", "x" * 5000, "audio/a.flac/b", "\ud800"]:
        assert file_inside(folder, name) is None, name
