"""The run folder: what it survives."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.scenario import Scenario, Turn
from fobench.api.trace import Failure, Trace
from fobench.errors import FobenchError
from fobench.storage.run_folder import RunFolder, file_name


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
    with pytest.raises(FobenchError, match=r"line 1: Broken trace: a list, not an object\. Remove"):
        list(folder.traces())


def test_a_run_is_not_written_over(folder):
    with pytest.raises(FobenchError, match="--resume"):
        folder.create({})
