"""Files on a branch of a git repository that is never checked out: written by plumbing, so that the working tree stays as it is."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from fobench.errors import FobenchError

NEW = "0" * 40  # the commit before the first
AUTHOR = ("-c", "user.name=fobench", "-c", "user.email=fobench@localhost")  # where the user has set none


class Branch:
    """The files of branch `name` in the repository of the current folder. Each change is a commit; pushing is the user's."""

    def __init__(self, name: str) -> None:
        self.name = name
        if _git("rev-parse", "--git-dir", check=False) is None:
            raise FobenchError(
                f"git:{name}: there is no git repository here. Go to one, or keep baselines in a folder."
            )
        if _git("check-ref-format", "--branch", name, check=False) is None:
            raise FobenchError(f"git:{name}: git allows no branch of that name.")

    def names(self) -> list[str]:
        listed = _git("ls-tree", "--name-only", self._ref, check=False)
        return listed.split("\n") if listed else []

    def read(self, name: str) -> str:
        return _checked("show", f"{self._ref}:{name}")

    def add(self, name: str, text: str) -> bool:
        """Commits a new file; False if there is one, or if another process changed the branch meanwhile."""
        head, entries = self._head(), self._entries()
        if name in entries:
            return False
        entries[name] = f"100644 blob {_checked('hash-object', '-w', '--stdin', given=text).strip()}\t{name}"
        return self._commit(f"Baseline {name}", entries, head)

    def remove(self, names: Sequence[str]) -> None:
        """Raises `FobenchError` if another process changed the branch meanwhile."""
        head, entries = self._head(), self._entries()
        kept = {name: entry for name, entry in entries.items() if name not in names}
        if not self._commit(f"Without {', '.join(names)}", kept, head):
            raise FobenchError(f"The branch {self.name} was changed by others meanwhile: try again.")

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.name}"

    def _head(self) -> str | None:
        return _git("rev-parse", "--verify", "--quiet", self._ref, check=False) or None

    def _entries(self) -> dict[str, str]:
        """{name: its line of the tree}."""
        listed = _git("ls-tree", self._ref, check=False) or ""
        return {line.partition("\t")[2]: line for line in listed.split("\n") if line}

    def _commit(self, message: str, entries: dict[str, str], head: str | None) -> bool:
        tree = _checked("mktree", given="".join(f"{line}\n" for line in entries.values())).strip()
        parent = ("-p", head) if head else ()
        named = () if _git("var", "GIT_COMMITTER_IDENT", check=False) else AUTHOR
        commit = _checked(*named, "commit-tree", tree, *parent, "-m", message).strip()
        return _git("update-ref", self._ref, commit, head or NEW, check=False) is not None


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
