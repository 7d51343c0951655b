"""The size of what is committed: a checkout is light enough to be sent about."""

import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_BYTES = 62 << 20  # of `git archive HEAD | gzip -1`; 52 of them are the trained weights
BLOCK = 1 << 20


@pytest.mark.subprocess
@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="no git checkout")
def test_the_committed_tree_packs_small():
    packer, packed = zlib.compressobj(1), 0
    command = ["git", "-C", str(ROOT), "archive", "HEAD"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as archive:
        while block := archive.stdout.read(BLOCK):
            packed += len(packer.compress(block))
    assert archive.returncode == 0
    packed += len(packer.flush())
    assert packed < MOST_BYTES, f"{packed:,} bytes of {MOST_BYTES:,}"
