"""Files on a git branch that is never checked out: they are written by plumbing commands, which leave the working tree alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from fobench.errors import FobenchError

NEW = "0" * 40  # the null commit, before the first one
AUTHOR = ("-c", "user.name=fobench", "-c", "user.email=fobench@localhost")  # if the user has set none


class BranchFiles:
    """The files of branch `name` in the repository of the current folder. Each change is a commit; pushing is left to the
    user. If only `origin` has the branch (as fetched), it is read there, and the first change creates the local branch.
    Raises `FobenchError` outside of a repository and for an invalid branch name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        if _git("rev-parse", "--git-dir", check=False) is None:
            raise FobenchError(
                f"git:{name}: the current folder is not in a git repository. Change to one, or keep baselines in a folder."
            )
        if name in ("@", "HEAD") or _git("check-ref-format", "--branch", name, check=False) != name:
            raise FobenchError(f"git:{name}: git does not allow this branch name.")

    @property
    def hint(self) -> str:
        return f"; or fetch the branch: git fetch origin {self.name}:{self.name}"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Refuses a branch that is checked out: its working tree would lack what is added, and show it as deleted."""
        for place in _checked_out(f"refs/heads/{self.name}"):
            raise FobenchError(
                f"git:{self.name}: this branch is checked out in {place}, so files added to it would show up as deleted"
                " there. Choose another branch, e.g. git:baselines, or check out another one there."
            )
        yield

    def names(self) -> list[str]:
        return list(_entries(self._heads()[1]))

    def read(self, name: str) -> str:
        return _git_output("show", f"{self._heads()[1]}:{name}")

    def add(self, name: str, text: str) -> bool:
        """Commits a new file; False if it exists already or another process changed the branch meanwhile."""
        local, last = self._heads()
        entries = _entries(last)
        if name in entries:
            return False
        entries[name] = f"100644 blob {_git_output('hash-object', '-w', '--stdin', stdin=text).strip()}\t{name}"
        return self._move(local, _commit(f"Baseline {name}", entries, last))

    def remove(self, names: Sequence[str]) -> None:
        """Commits the removal of files. Raises `FobenchError` if another process changed the branch meanwhile."""
        with self.alone():
            self._remove(names)

    def _remove(self, names: Sequence[str]) -> None:
        local, last = self._heads()
        kept = {name: entry for name, entry in _entries(last).items() if name not in names}
        if not self._move(local, _commit(f"Without {', '.join(names)}", kept, last)):
            raise FobenchError(f"Another process changed the branch {self.name} meanwhile: try again.")

    def _heads(self) -> tuple[str | None, str | None]:
        """(last commit of the local branch, the commit to read: the local one, else that of `origin`)."""
        local = _commit_of(f"refs/heads/{self.name}")
        return local, local or _commit_of(f"refs/remotes/origin/{self.name}")

    def _move(self, local: str | None, commit: str) -> bool:
        """Sets the branch to a commit; False if it is no longer at `local`."""
        return _git("update-ref", f"refs/heads/{self.name}", commit, local or NEW, check=False) is not None


def _commit(message: str, entries: Mapping[str, str], parent: str | None) -> str:
    tree = _git_output("mktree", stdin="".join(f"{line}\n" for line in entries.values())).strip()
    identity = () if _git("var", "GIT_COMMITTER_IDENT", check=False) else AUTHOR
    parents = ("-p", parent) if parent else ()
    return _git_output(*identity, "commit-tree", tree, *parents, "-m", message).strip()


def _entries(commit: str | None) -> dict[str, str]:
    """{name: line of the git tree}; empty without a commit."""
    listed = _git_output("ls-tree", commit) if commit else ""
    return {line.partition("\t")[2]: line for line in listed.split("\n") if line}


def _checked_out(ref: str) -> Iterator[str]:
    """The working trees of the repository, also linked ones, and its bare folder, whose HEAD is the branch `ref`."""
    place, common = "", _git_output("rev-parse", "--git-common-dir")
    for line in _git_output("worktree", "list", "--porcelain").split("\n"):
        key, _, value = line.partition(" ")
        if key == "worktree":
            place = value
        elif line == f"branch {ref}":
            yield place
    if _git("--git-dir", common, "symbolic-ref", "--quiet", "HEAD", check=False) == ref:  # bare: not in the list
        yield common


def _commit_of(ref: str) -> str | None:
    return _git("rev-parse", "--verify", "--quiet", ref, check=False) or None


def _git_output(*arguments: str, stdin: str | None = None) -> str:
    output = _git(*arguments, stdin=stdin)
    assert output is not None, "_git raises where a command fails"
    return output


def _git(*arguments: str, stdin: str | None = None, check: bool = True) -> str | None:
    """The output of a git command without final newlines; with `check` False, None if it fails.

    Raises `FobenchError` if git is missing, or if the command fails under `check`.
    """
    try:
        done = subprocess.run(
            ("git", *arguments), input=stdin, capture_output=True, text=True, encoding="utf-8", check=False
        )
    except OSError as error:
        raise FobenchError(f"A baseline on a branch needs git: {error}.") from error
    if done.returncode and check:
        raise FobenchError(f"git {arguments[0]} failed: {done.stderr.strip() or done.returncode}")
    return None if done.returncode else done.stdout.rstrip("\n")
