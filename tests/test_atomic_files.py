"""Files appear whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import secrets
import stat
import threading
from pathlib import Path

import pytest

from fobench.atomic_files import STALE, atomic_path, write_bytes, write_text


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
