"""Files on a branch of a git repository that is never checked out: written by plumbing, so that the working tree stays as it is."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from fobench.errors import FobenchError

NEW = "0" * 40  # the commit before the first
AUTHOR = ("-c", "user.name=fobench", "-c", "user.email=fobench@localhost")  # where the user has set none


class BranchFiles:
    """The files of branch `name` in the repository of the current folder. Each change is a commit; pushing is the user's.

    Where only `origin` has the branch, as far as it was fetched, it is read there, and goes on here with the first change.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        if _git("rev-parse", "--git-dir", check=False) is None:
            raise FobenchError(
                f"git:{name}: there is no git repository here. Go to one, or keep baselines in a folder."
            )
        if _git("check-ref-format", "--branch", name, check=False) is None:
            raise FobenchError(f"git:{name}: git allows no branch of that name.")

    @property
    def hint(self) -> str:
        return f"; or fetch the branch: git fetch origin {self.name}:{self.name}"

    def names(self) -> list[str]:
        return list(_entries(self._heads()[1]))

    def read(self, name: str) -> str:
        return _checked("show", f"{self._heads()[1]}:{name}")

    def add(self, name: str, text: str) -> bool:
        """Commits a new file; False if there is one, or if another process changed the branch meanwhile."""
        own, last = self._heads()
        entries = _entries(last)
        if name in entries:
            return False
        entries[name] = f"100644 blob {_checked('hash-object', '-w', '--stdin', given=text).strip()}\t{name}"
        return self._move(own, _commit(f"Baseline {name}", entries, last))

    def remove(self, names: Sequence[str]) -> None:
        """Raises `FobenchError` if another process changed the branch meanwhile."""
        own, last = self._heads()
        kept = {name: entry for name, entry in _entries(last).items() if name not in names}
        if not self._move(own, _commit(f"Without {', '.join(names)}", kept, last)):
            raise FobenchError(f"The branch {self.name} was changed by others meanwhile: try again.")

    def _heads(self) -> tuple[str | None, str | None]:
        """Its last commit here, and the one that counts: where there is none here, that of `origin`."""
        own = _commit_of(f"refs/heads/{self.name}")
        return own, own or _commit_of(f"refs/remotes/origin/{self.name}")

    def _move(self, own: str | None, commit: str) -> bool:
        """Sets the branch to a commit; False if it is no longer at `own`."""
        return _git("update-ref", f"refs/heads/{self.name}", commit, own or NEW, check=False) is not None


def _commit(message: str, entries: Mapping[str, str], parent: str | None) -> str:
    tree = _checked("mktree", given="".join(f"{line}\n" for line in entries.values())).strip()
    named = () if _git("var", "GIT_COMMITTER_IDENT", check=False) else AUTHOR
    parents = ("-p", parent) if parent else ()
    return _checked(*named, "commit-tree", tree, *parents, "-m", message).strip()


def _entries(commit: str | None) -> dict[str, str]:
    """{name: its line of the tree}; nothing without a commit."""
    listed = _checked("ls-tree", commit) if commit else ""
    return {line.partition("\t")[2]: line for line in listed.split("\n") if line}


def _commit_of(ref: str) -> str | None:
    return _git("rev-parse", "--verify", "--quiet", ref, check=False) or None


def _checked(*arguments: str, given: str | None = None) -> str:
    done = _git(*arguments, given=given)
    assert done is not None, "what fails has raised"
    return done


def _git(*arguments: str, given: str | None = None, check: bool = True) -> str | None:
    """What git prints, stripped of its last line's end; None where it fails and need not succeed."""
    try:
        done = subprocess.run(
            ("git", *arguments), input=given, capture_output=True, text=True, encoding="utf-8", check=False
        )
    except OSError as error:
        raise FobenchError(f"A baseline on a branch needs git: {error}.") from error
    if done.returncode and check:
        raise FobenchError(f"git {arguments[0]} failed: {done.stderr.strip() or done.returncode}")
    return None if done.returncode else done.stdout.rstrip("\n")
