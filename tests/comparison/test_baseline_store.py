"""Baselines are written whole or not at all, each under its own number, and never on a branch that is checked out."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fobench.comparison.baseline_store import BaselineStore
from fobench.comparison.snapshot import Snapshot, SnapshotItem
from fobench.errors import FobenchError

SNAPSHOT = Snapshot("run", {"config": {"system": "cascade"}}, (SnapshotItem("a", "a"),), {})
SAVE = (
    "import sys; from fobench.comparison.baseline_store import BaselineStore;"
    " from fobench.comparison.snapshot import Snapshot, SnapshotItem;"
    " store = BaselineStore(sys.argv[1]);"
    " [store.save(Snapshot('run', {}, (SnapshotItem('a', 'a'),), {}), sys.argv[2]) for _ in range(5)]"
)


def git(*arguments, at="."):
    names = ("-c", "user.name=a", "-c", "user.email=a@b")
    return subprocess.run(["git", *names, *arguments], cwd=at, check=True, capture_output=True, text=True).stdout


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path, monkeypatch):
    store = BaselineStore(str(tmp_path / "kept"))
    store.save(SNAPSHOT)
    before = {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    told = (
        r"The baseline cannot be written to .*kept: No space left on device\. Nothing is changed: fix this, or choose"
    )
    with pytest.raises(FobenchError, match=told):
        store.save(SNAPSHOT)
    assert {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()} == before
    monkeypatch.undo()
    assert store.save(SNAPSHOT).number == 2


@pytest.mark.parametrize("place", ["file/kept", "file"])
def test_a_place_that_cannot_be_a_folder_is_one_sentence(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(FobenchError, match=r"The baseline cannot be written to .*: (Not a directory|File exists)\."):
        BaselineStore(str(tmp_path / place)).save(SNAPSHOT)


def test_a_link_in_place_of_the_next_baseline_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/0001-other.json").symlink_to(tmp_path / "victim")
    store = BaselineStore(str(tmp_path / "kept"))
    assert store.save(SNAPSHOT).number == 2
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.subprocess
def test_processes_that_save_at_once_take_numbers_of_their_own(tmp_path):
    names = ["one", "two", "three"]
    processes = [subprocess.Popen([sys.executable, "-c", SAVE, str(tmp_path / "kept"), name]) for name in names]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    saved = BaselineStore(str(tmp_path / "kept")).ls()
    assert [each.number for each in saved] == list(range(1, 16))
    assert all(json.loads((tmp_path / "kept" / each.file).read_text())["version"] == 1 for each in saved)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git("init", "--quiet", "--initial-branch=main", "repository", at=tmp_path)
    monkeypatch.chdir(tmp_path / "repository")
    git("commit", "--quiet", "--allow-empty", "--message=first")
    return tmp_path / "repository"


def refused(branch, place):
    with pytest.raises(FobenchError, match=rf"git:{branch}: this branch is checked out in .*{place}.*git:baselines"):
        BaselineStore(f"git:{branch}").save(SNAPSHOT)


@pytest.mark.subprocess
def test_the_branch_that_is_checked_out_is_refused_from_everywhere(repository, tmp_path, monkeypatch):
    git("worktree", "add", "--quiet", "-b", "linked", "../linked")
    head = git("rev-parse", "main", "linked")
    for place in (repository, tmp_path / "linked", repository / ".git"):
        monkeypatch.chdir(place)
        refused("main", "repository")
        refused("linked", "linked")
    assert git("rev-parse", "main", "linked") == head
    monkeypatch.chdir(tmp_path / "linked")
    git("checkout", "--quiet", "--detach")
    assert BaselineStore("git:linked").save(SNAPSHOT).number == 1
    assert git("status", "--short") == ""
    git("checkout", "--quiet", "linked")
    with pytest.raises(FobenchError, match="is checked out in"):
        BaselineStore("git:linked").prune(0)


@pytest.mark.subprocess
def test_a_branch_without_a_commit_that_is_checked_out_is_refused(repository):
    git("checkout", "--quiet", "--orphan", "fresh")
    refused("fresh", "repository")
    assert git("branch", "--list", "fresh") == ""


@pytest.mark.subprocess
def test_the_head_of_a_bare_repository_is_refused(repository, tmp_path, monkeypatch):
    git("clone", "--quiet", "--bare", ".", "../bare.git")
    git("worktree", "add", "--quiet", "-b", "linked", "../of-bare", at=tmp_path / "bare.git")
    for place in (tmp_path / "bare.git", tmp_path / "of-bare"):
        monkeypatch.chdir(place)
        refused("main", "")
        refused("linked", "of-bare")
    assert BaselineStore("git:baselines").save(SNAPSHOT).number == 1


@pytest.mark.subprocess
@pytest.mark.parametrize(
    "branch", ["../x", "a..b", "-f", "a b", "@", "a.lock", "", "HEAD~1", "a\\b", "HEAD", "@{-1}", "a\n"]
)
def test_what_is_no_name_of_a_branch_is_refused(repository, branch):
    with pytest.raises(FobenchError, match="git does not allow this branch name"):
        BaselineStore(f"git:{branch}")
    assert sorted(path.name for path in Path.cwd().iterdir()) == [".git"]
