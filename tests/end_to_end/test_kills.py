"""Fifty kills at random moments, every one resumed: nothing twice, nothing lost, the scores of an undisturbed run."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

KILLS = 50
ARGUMENTS = ["--system", "scripted:late", "--suite", "controls", "--judge", "none", "--costs", "declared"]


def command(*arguments):
    return [sys.executable, "-m", "fobench", "run", *map(str, arguments)]


@pytest.mark.slow
def test_fifty_kills_and_an_undisturbed_run_score_the_same(tmp_path):
    chance = random.Random(7)
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    arguments = [*ARGUMENTS, "--suite-args", "count=60"]
    subprocess.run(command(*arguments, "--output", calm), check=True, capture_output=True)
    kills, progress = 0, []
    while kills < KILLS:
        begun = (killed / "run.json").exists()
        process = subprocess.Popen(
            command("--resume", killed) if begun else command(*arguments, "--output", killed),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.2, 2.0))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        traces = killed / "traces.jsonl"
        progress.append(traces.read_bytes().count(b"\n") if traces.exists() else 0)
        if progress[-1] == 60:  # complete before its time: begin again, the kills count on
            (killed / "run.json").unlink()
            traces.unlink()
    subprocess.run(command("--resume", killed), check=True, capture_output=True)
    ids = [json.loads(line)["scenario"]["id"] for line in (killed / "traces.jsonl").read_text().splitlines()]
    assert sorted(ids) == sorted(set(ids))
    assert len(ids) == 60
    assert (killed / "scores.json").read_bytes() == (calm / "scores.json").read_bytes()
    print(f"{kills} kills; scenarios done after each: {progress}")
