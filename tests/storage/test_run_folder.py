"""The run folder: what it survives."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.scenario import Scenario, Turn
from fobench.api.trace import Failure, Trace
from fobench.atomic_files import file_name
from fobench.errors import FobenchError
from fobench.execution.run import Run
from fobench.storage.run_folder import RunFolder


def trace(scenario_id):
    return Trace(Scenario(scenario_id, "suite", 0, (Turn("/somewhere/else/a.wav", ""),)), "virtual", "measured", 0)


@pytest.fixture
def folder(tmp_path):
    made = RunFolder(tmp_path / "run")
    made.create({"version": 1})
    return made


def silence():
    return np.zeros((160, 2), dtype=np.float32)


def test_what_was_added_is_there_without_the_machines_paths(folder):
    folder.add(trace("a"), silence(), 16_000)
    (found,) = folder.traces()
    assert (found.id, found.audio) == ("a", "audio/a.flac")
    assert found.scenario.turns[0].audio == "a.wav"


def test_ids_that_cannot_be_file_names_stay_apart_and_inside(folder):
    names = {folder.add(trace(i), silence(), 16_000).audio for i in ("a/b", "a_b", "../../a_b", "a b", "ä", "x" * 300)}
    assert len(names) == 6
    assert len([path for path in (folder.path / "audio").iterdir() if not path.name.startswith(".")]) == 6


def test_ids_that_differ_only_in_case_have_names_that_differ_in_more():
    assert len({file_name(i).lower() for i in ("Paris", "paris", "PARIS")}) == 3
    assert file_name("paris") == "paris"


def test_halves_of_characters_are_kept_in_json(folder):
    folder.add(replace(trace("a"), failure=Failure("raised", "half \ud800")), silence(), 16_000)
    folder.log("half \ud800")
    assert next(folder.traces()).failure.message == "half \ud800"


@given(st.text(min_size=1))
def test_a_file_name_is_short_plain_and_visible(scenario_id):
    name = file_name(scenario_id)
    assert 0 < len(name) < 100
    assert not set(name) & set("/\\:\0 ")
    assert not name.startswith(".")


def test_an_unfinished_last_line_is_cut_off(folder):
    folder.add(trace("a"), silence(), 16_000)
    whole = folder.traces_path.read_bytes()
    with folder.traces_path.open("ab") as file:
        file.write('{"version": 1, "scenario": "é'.encode()[:-1])
    assert [t.id for t in folder.traces()] == ["a"]
    folder.repair()
    assert folder.traces_path.read_bytes() == whole


def test_a_broken_line_in_the_middle_is_named(folder):
    folder.traces_path.write_text("{}\n")
    with pytest.raises(FobenchError, match=r"traces\.jsonl, line 1: Trace version None.* Remove that line .*--resume"):
        list(folder.traces())
    folder.traces_path.write_text("[]\n")
    with pytest.raises(FobenchError, match=r"line 1: Broken trace: list instead of an object\. Remove"):
        list(folder.traces())


def test_a_run_is_not_written_over(folder):
    with pytest.raises(FobenchError, match="--resume"):
        folder.create({})


@pytest.fixture
def finished(folder):
    folder.write_run({"version": 1, "status": "complete"})
    for name in "abc":
        folder.add(trace(name), silence(), 16_000)
    return folder


def test_compressed_traces_read_as_before_and_are_equal_to_the_byte_each_time(finished, tmp_path):
    plain, before = finished.traces_path.read_bytes(), list(finished.traces())
    finished.compress()
    finished.compress()
    assert finished.compressed
    assert list(finished.traces()) == before
    assert sorted(path.name for path in finished.path.iterdir()) == [
        "audio",
        "run.json",
        "traces.jsonl.gz",
        "waveforms.jsonl",
    ]
    other = RunFolder(tmp_path / "a folder of another name")
    other.create({"version": 1, "status": "complete"})
    other.traces_path.write_bytes(plain)
    other.compress()
    assert other.traces_path.read_bytes() == finished.traces_path.read_bytes()


def test_a_compression_that_was_killed_leaves_the_plain_file_in_force(finished):
    plain = finished.traces_path.read_bytes()
    finished.compress()
    (finished.path / "traces.jsonl").write_bytes(plain)
    assert not finished.compressed
    finished.compress()
    assert [found.id for found in finished.traces()] == ["a", "b", "c"]
    assert finished.compressed


def test_an_unfinished_run_and_one_without_traces_are_not_compressed(folder):
    with pytest.raises(FobenchError, match=r"cannot be compressed: its run is .* Complete it first: .*--resume"):
        folder.compress()
    folder.write_run({"version": 1, "status": "complete"})
    with pytest.raises(FobenchError, match="no traces to compress"):
        folder.compress()


def test_a_run_with_compressed_traces_is_not_resumed(finished):
    finished.check_resumable()
    finished.compress()
    with pytest.raises(FobenchError, match=r"cannot be resumed: traces\.jsonl\.gz .* gunzip .*traces\.jsonl\.gz"):
        Run.resume(finished.path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-9],
        lambda whole: whole[:40] + bytes([whole[40] ^ 255]) + whole[41:],
        lambda whole: whole + b"and more",
        lambda whole: b"{}\n",
    ],
    ids=["cut off", "a byte changed", "something behind it", "plain text"],
)
def test_a_damaged_compressed_file_is_one_sentence(finished, damage):
    finished.compress()
    finished.traces_path.write_bytes(damage(finished.traces_path.read_bytes()))
    with pytest.raises(FobenchError, match=r"traces\.jsonl\.gz is damaged \(.*\): take it from a backup"):
        list(finished.traces())


def test_a_broken_line_of_a_compressed_file_is_named_with_the_way_out(finished):
    finished.traces_path.write_text("{}\n")
    finished.compress()
    with pytest.raises(
        FobenchError, match=r"gz, line 1: Trace version None.* Unpack it \(gunzip .*, then remove that line"
    ):
        list(finished.traces())


def test_a_line_without_end_does_not_fill_the_memory(finished, monkeypatch):
    monkeypatch.setattr("fobench.storage.run_folder.LINE_BYTES", 1 << 16)
    finished.traces_path.write_bytes(b"0" * (1 << 24))
    finished.compress()
    tracemalloc.start()
    with pytest.raises(FobenchError, match=r"line 1 is longer than 65,536 bytes"):
        list(finished.traces())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 21
