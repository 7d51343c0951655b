"""What is wrong with recordings stands on `fobench validate` and on the report of a run."""

import json

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from fobench.cli.main import main
from tests.plugins.suites.suite_sounds import RATE, sound

pytestmark = [pytest.mark.usefixtures("home"), pytest.mark.subprocess]


@pytest.fixture
def clips(tmp_path):
    """Recordings as they are found: a clean one, a very quiet one, antiphase stereo, and one that cannot be read."""
    folder = tmp_path / "clips"
    folder.mkdir()
    soundfile.write(folder / "clean.wav", sound(), RATE)
    soundfile.write(folder / "quiet.wav", 1e-3 * sound(), RATE, subtype="FLOAT")
    soundfile.write(folder / "anti.wav", np.stack([sound(), -sound()], 1), RATE)
    (folder / "other.m4a").write_bytes(bytes(100))
    return folder


NOTES = (
    "Left out, in a format that cannot be read: other.m4a.",
    "Audio of anti: its channels cancel each other, so that the loudest channel is played instead of their mean.",
    "Audio of quiet: it is very quiet: nothing lasts 30 ms above -45 dBFS",
)


def test_notes_are_told_by_validate(clips):
    done = CliRunner().invoke(main, ["validate", f"manifest:{clips}"], env={"COLUMNS": "400"})
    assert done.exit_code == 0
    assert [note for note in NOTES if note not in " ".join(done.output.split())] == []


def test_notes_stand_on_the_report(clips, tmp_path):
    out = tmp_path / "run"
    options = ["--system", "scripted:late", "--judge", "none", "--suite", f"manifest:{clips}", "-o", str(out)]
    done = CliRunner().invoke(main, ["run", *options])
    assert done.exit_code == 0, done.output
    notes = json.loads((out / "run.json").read_text())["notes"]
    assert [note for note, told in zip(NOTES, notes, strict=True) if not told.startswith(note)] == []
    report = " ".join((out / "summary.md").read_text().split())
    assert [name for name in ("other.m4a", "Audio of anti", "Audio of quiet") if name not in report] == []
