import errno
import json
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fobench.api.types import AudioChunk
from fobench.assets.files import locked
from fobench.errors import FobenchError, PrerequisiteError
from reference_model.train.data import shards
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.shards import AUDIO, INFO
from reference_model.train.synthesis import render, render_plan, speakers
from reference_model.train.synthesis.render import RenderTally
from reference_model.train.synthesis.render_plan import RenderItem
from reference_model.train.synthesis.speakers import SpeakingStyle


class Hum:
    """A voice whose clips last 20 ms a letter. It fails on "mute", and a kill comes at the text `killed_by`."""

    rate_hz = 24000
    speakers = ("joe",)

    def __init__(self, killed_by: str = "") -> None:
        self.killed_by = killed_by
        self.said: list[str] = []

    def speak(self, text: str, seed: int, speaker: str | None = None) -> AudioChunk:
        if text == self.killed_by:
            raise KeyboardInterrupt
        self.said.append(text)
        level = 0.0 if text == "mute" else 0.5
        return AudioChunk((level * np.sin(np.arange(480 * len(text)) / 9)).astype(np.float32), self.rate_hz)


@pytest.fixture
def hum(monkeypatch: pytest.MonkeyPatch) -> Hum:
    voice = Hum()
    monkeypatch.setattr(speakers, "load", lambda name, options: voice)
    return voice


def items(count: int, a_shard: int = 4) -> list[RenderItem]:
    manner = SpeakingStyle("piper", "joe")
    names = [f"clip number {i}" for i in range(count)]
    return [
        RenderItem(f"i{i}", f"train-{i // a_shard:05d}", name, "talk", "made", "train", manner, 16000, i)
        for i, name in enumerate(names)
    ]


def run(folder: Path, wanted: list[RenderItem], tally: RenderTally | None = None) -> RenderTally:
    tally = tally or RenderTally()
    render.render(folder, wanted, threads=1, tally=tally, on_progress=lambda done: None)
    return tally


def ids(folder: Path) -> list[str]:
    """The clips of the shards in their order, every one of them read."""
    corpus = Corpus.open([folder], 16_000)
    assert all(corpus.samples(index) is not None for index in range(len(corpus)))
    assert not len(corpus.faults)
    return [entry.id for entry in corpus.entries]


def test_all_items_are_rendered_in_the_plans_order(hum: Hum, tmp_path: Path) -> None:
    tally = run(tmp_path, items(10))
    assert ids(tmp_path) == [f"i{i}" for i in range(10)] and tally.clips.total() == 10
    assert [path.name for path in shards.paths(tmp_path)] == [f"train-0000{i}.tar" for i in range(3)]
    assert not list((tmp_path / render.WORK).glob("train-*/*"))


def test_a_killed_render_goes_on_without_loss_or_repeats(hum: Hum, tmp_path: Path) -> None:
    hum.killed_by = "clip number 6"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, items(10))
    hum.killed_by = ""
    run(tmp_path, items(10))
    assert ids(tmp_path) == [f"i{i}" for i in range(10)]
    assert sorted(hum.said) == sorted(item.text for item in items(10))
    run(tmp_path, items(10))
    assert len(hum.said) == 10


def test_a_kill_between_packing_and_tidying_costs_nothing(hum: Hum, tmp_path: Path) -> None:
    run(tmp_path, items(4))
    left = tmp_path / render.WORK / "train-00000"
    left.mkdir()
    (left / "i0.flac").write_bytes(b"")
    run(tmp_path, items(4))
    assert len(hum.said) == 4 and not left.exists()


def test_a_stopped_render_finishes_its_clip_and_packs_no_half_shard(hum: Hum, tmp_path: Path) -> None:
    tally = RenderTally()
    render.render(
        tmp_path, items(8), threads=1, tally=tally, on_progress=lambda done: setattr(tally, "stopped", done >= 5)
    )
    assert ids(tmp_path) == ["i0", "i1", "i2", "i3"] and len(hum.said) == 6
    run(tmp_path, items(8))
    assert len(ids(tmp_path)) == len(hum.said) == 8


def test_a_shard_that_another_process_renders_is_left_to_it(hum: Hum, tmp_path: Path) -> None:
    with locked(tmp_path / render.WORK / "train-00000.lock") as ours:
        assert ours
        run(tmp_path, items(8))
    assert ids(tmp_path) == ["i4", "i5", "i6", "i7"]


def test_what_cannot_be_said_is_listed_and_the_rest_is_rendered(hum: Hum, tmp_path: Path) -> None:
    wanted = items(3)
    wanted[1] = replace(wanted[1], text="mute")
    assert run(tmp_path, wanted).failed == 1
    assert ids(tmp_path) == ["i0", "i2"]
    (line,) = (tmp_path / "train-00000.failed.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == "i1" and "0.08 s long" in line


def test_a_missing_voice_stops_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(name: str, options: object) -> None:
        raise PrerequisiteError("no piper")

    monkeypatch.setattr(speakers, "load", load)
    with pytest.raises(PrerequisiteError, match="no piper"):
        run(tmp_path, items(3))


def test_pitch_changes_length_and_rate_is_the_items(hum: Hum) -> None:
    plain, high = (replace(items(1)[0], manner=SpeakingStyle("piper", "joe", pitch=pitch)) for pitch in (1.0, 1.25))
    (chunk, (start, end)), (short, _) = render.synthesize(plain, 1), render.synthesize(high, 1)
    assert chunk.rate_hz == 16000 and len(short.samples) == pytest.approx(len(chunk.samples) / 1.25, abs=2)
    assert 0 <= start < end <= chunk.duration_ns


def test_steps_of_the_command_line() -> None:
    assert render.parse_set_option("output:2000") == ("output", 2000) and render.parse_set_option("input") == (
        "input",
        None,
    )
    with pytest.raises(FobenchError, match="'many' is not a number"):
        render.parse_set_option("input:many")
    assert len(render.first_shards(items(10), 5)) == 8 and len(render.first_shards(items(10), None)) == 10


def test_the_command_renders_keeps_its_plan_and_refuses_another(hum: Hum, tmp_path: Path) -> None:
    (tmp_path / "sets" / "slurp_text").mkdir(parents=True)
    (tmp_path / "sets" / "slurp_text" / "a.jsonl").write_text('{"sentence": "turn the lamp off"}\n')
    asked = ["--set", "output:5", "--out", str(tmp_path / "{set}")]
    first = CliRunner().invoke(render.main, [*asked, "--items", "12", "--texts", str(tmp_path / "sets")])
    assert first.exit_code == 0, first.output
    assert (tmp_path / "output" / render_plan.METADATA).is_file() and 11 <= len(hum.said) <= 12
    said = len(hum.said)
    assert CliRunner().invoke(render.main, asked).exit_code == 0 and len(hum.said) == said
    other = CliRunner().invoke(render.main, [*asked, "--seed", "3"])
    assert other.exit_code == 1 and "holds a plan with {'seed': 0}" in other.output
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    none = CliRunner().invoke(render.main, ["--set", "input", "--out", str(tmp_path / "new")])
    assert none.exit_code == 1 and "give --texts" in none.output


def test_the_set_more_is_rendered_from_written_sentences(hum: Hum, tmp_path: Path) -> None:
    (tmp_path / "sets" / "slurp_text").mkdir(parents=True)
    (tmp_path / "sets" / "slurp_text" / "a.jsonl").write_text('{"sentence": "turn the lamp off"}\n')
    (tmp_path / "written.jsonl").write_text('{"text": "Gulls nap.", "kind": "talk", "topic": "x", "batch": 0}\n')
    command = ["--set", "more", "--out", str(tmp_path / "{set}"), "--texts", str(tmp_path / "sets")]
    none = CliRunner().invoke(render.main, command)
    assert none.exit_code == 1 and "give --written" in none.output
    done = CliRunner().invoke(render.main, [*command, "--written", str(tmp_path / "written.jsonl")])
    assert done.exit_code == 0 and hum.said == ["Gulls nap."], done.output


def test_a_signal_stops_the_command_and_the_same_command_goes_on(hum: Hum, tmp_path: Path) -> None:
    found = items(6)
    render_plan.write(tmp_path, found, render_plan.metadata("input", found, 0))
    said = hum.speak
    hum.speak = lambda *given: (signal.raise_signal(signal.SIGTERM), said(*given))[1]  # type: ignore[method-assign]
    command = ["--set", "input", "--out", str(tmp_path)]
    assert CliRunner().invoke(render.main, command).exit_code == 0 and len(hum.said) == 1
    hum.speak = said  # type: ignore[method-assign]
    assert CliRunner().invoke(render.main, command).exit_code == 0
    assert ids(tmp_path) == [f"i{i}" for i in range(6)] and len(hum.said) == 6


def test_a_full_disk_is_told_with_the_way_on(hum: Hum, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    render_plan.write(tmp_path, items(2), render_plan.metadata("input", items(2), 0))
    monkeypatch.setattr(render, "write_bytes", full)
    told = CliRunner().invoke(render.main, ["--set", "input", "--out", str(tmp_path)])
    assert told.exit_code == 1 and "No space left on device" in told.output and "resumes" in told.output


class Bad:
    """A voice that says `said` of every text of an odd number, and a tone of the others."""

    rate_hz = 24000
    speakers = ("joe",)

    def __init__(self, said: object) -> None:
        self.said = said

    def speak(self, text: str, seed: int, speaker: str | None = None) -> AudioChunk:
        if seed % 3 != 1:
            return AudioChunk((0.5 * np.sin(np.arange(12000) / 9)).astype(np.float32), self.rate_hz)
        if isinstance(self.said, Exception):
            raise self.said
        return self.said  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (AudioChunk(np.zeros(0, np.float32), 24000), "0.00 s long"),
        (AudioChunk(np.zeros(12000, np.float32), 24000), "silent"),
        (AudioChunk(np.full(12000, np.nan, np.float32), 24000), "not finite"),
        (AudioChunk(np.full(960000, 0.5, np.float32), 24000), "40.00 s long"),
        (AudioChunk(np.ones((12000, 8), np.float32), 24000), ""),
        (None, "AttributeError"),
        (MemoryError("no room"), "MemoryError: no room"),
        (ZeroDivisionError("inside the model"), "ZeroDivisionError: inside the model"),
    ],
)
def test_whatever_a_voice_does_with_a_text_it_is_listed_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: object, reason: str
) -> None:
    monkeypatch.setattr(speakers, "load", lambda name, options: Bad(said))
    assert run(tmp_path, items(3)).failed == 1
    assert ids(tmp_path) == ["i0", "i2"]
    (line,) = (tmp_path / "train-00000.failed.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == "i1" and reason in json.loads(line)["reason"]


def test_a_shard_of_which_most_fails_is_not_packed(monkeypatch: pytest.MonkeyPatch, hum: Hum, tmp_path: Path) -> None:
    """A broken engine would else leave empty shards behind it, which no later run fills."""
    broken = type("Broken", (Hum,), {"speak": lambda *given: 1 / 0})()
    monkeypatch.setattr(speakers, "load", lambda name, options: broken)
    render_plan.write(tmp_path, items(4), render_plan.metadata("input", items(4), 0))
    told = CliRunner().invoke(render.main, ["--set", "input", "--out", str(tmp_path)])
    assert told.exit_code == 1
    assert "4 of 4 clips of train-00000 cannot be rendered" in told.output and "division by zero" in told.output
    monkeypatch.setattr(speakers, "load", lambda name, options: hum)
    run(tmp_path, items(4))
    assert len(ids(tmp_path)) == 4


@pytest.mark.parametrize("spoilt", [AUDIO, INFO])
@pytest.mark.parametrize("content", [b"", b"half"])
def test_a_clip_that_a_lost_power_left_half_is_rendered_anew(
    hum: Hum, tmp_path: Path, spoilt: str, content: bytes
) -> None:
    hum.killed_by = "clip number 2"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, items(4))
    (tmp_path / render.WORK / "train-00000" / f"i1{spoilt}").write_bytes(content)
    hum.killed_by = ""
    run(tmp_path, items(4))
    assert ids(tmp_path) == ["i0", "i1", "i2", "i3"] and hum.said.count("clip number 1") == 2


def test_a_disk_that_is_really_full_loses_nothing(hum: Hum, tmp_path: Path) -> None:
    """No file may grow beyond 12 kB: the clips fit, their shard does not."""
    render_plan.write(tmp_path, items(4), render_plan.metadata("input", items(4), 0))
    command = ["--set", "input", "--out", str(tmp_path)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, before[1]))
    try:
        told = CliRunner().invoke(render.main, command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert told.exit_code == 1 and "File too large" in told.output and "resumes" in told.output
    assert not list(tmp_path.glob("*.tar")) and not list(tmp_path.glob(".*.tar*"))
    said = len(hum.said)
    assert CliRunner().invoke(render.main, command).exit_code == 0
    assert len(ids(tmp_path)) == 4 and len(hum.said) == said == 4


KILLED = """
import sys, time
from reference_model.train.synthesis import render, speakers
from tests.train.synthesis.test_render import Hum
class Slow(Hum):
    def speak(self, text, seed, speaker=None):
        time.sleep(0.05)
        return super().speak(text, seed, speaker)
speakers.load = lambda name, options: Slow()
render.main(["--set", "input", "--out", sys.argv[1]])
"""


@pytest.mark.subprocess
def test_a_render_that_is_killed_with_force_is_completed(hum: Hum, tmp_path: Path) -> None:
    render_plan.write(tmp_path, items(40, 8), render_plan.metadata("input", items(40, 8), 0))
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    while not list(tmp_path.glob("*.tar")):
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.17)  # into the next shard
    process.kill()
    process.wait()
    work = list((tmp_path / render.WORK).glob("*/*.flac"))
    run(tmp_path, items(40, 8))
    assert ids(tmp_path) == [f"i{i}" for i in range(40)]
    assert len(hum.said) <= 40 - 8 - len(work)
