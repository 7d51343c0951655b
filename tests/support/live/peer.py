"""Packages of others, each in an environment of its own, installed once by pip."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fobench.assets.store import home


def environment(name, *packages, alone="") -> Path:
    """The Python of an environment with `packages`, and with `alone`, one that is installed without its dependencies.

    Skips the test where they cannot be installed, e.g. without a network.
    """
    folder = home() / "peers" / f"{name}-{sys.version_info.major}{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        for wanted in filter(None, (packages, alone and ("--no-deps", alone))):
            done = subprocess.run(
                [str(python), "-m", "pip", "install", "--quiet", *wanted], capture_output=True, text=True
            )
            if done.returncode:
                pytest.skip(f"{wanted[-1]} cannot be installed: {done.stderr.strip()[-200:]}")
        (folder / "complete").touch()
    return python


def clean() -> dict[str, str]:
    """The environment variables for such a Python: none of this one's."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
