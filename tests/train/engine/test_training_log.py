"""Training log: truncation to a step, and a list of skipped clips without repetition."""

import pytest

from fobench.errors import FobenchError
from reference_model.train.engine import training_log
from reference_model.train.engine.training_log import LOG, SKIPPED, TrainingLog


def test_the_log_is_read_by_name(tmp_path):
    kept = TrainingLog(tmp_path)
    kept.add({"step": 1, "loss": 2.0, "lr": 0.1})
    kept.add({"step": 2, "loss": 1.0, "lr": 0.1, "valid_wer": 1 / 3})
    assert (tmp_path / LOG).read_text() == "1,loss,2\n1,lr,0.1\n2,loss,1\n2,lr,0.1\n2,valid_wer,0.333333\n"
    assert training_log.read(tmp_path)["loss"] == [(1, 2.0), (2, 1.0)]


def test_it_is_cut_back_to_a_step_and_loses_a_torn_line(tmp_path):
    kept = TrainingLog(tmp_path)
    for step in range(1, 13):
        kept.add({"step": step, "loss": 1.0})
    with (tmp_path / LOG).open("a") as file:
        file.write("1")  # of 13,loss,1 on a disk that was full
    kept.truncate(9)
    assert training_log.read(tmp_path) == {"loss": [(step, 1.0) for step in range(1, 10)]}


def test_a_skipped_clip_is_listed_once_also_after_resuming(tmp_path):
    TrainingLog(tmp_path).list_skipped([("a.tar/1", "broken"), ("a.tar/2", "two\nlines")])
    again = TrainingLog(tmp_path)
    again.list_skipped([("a.tar/1", "broken"), ("b.tar/9", "silent")])
    assert (tmp_path / SKIPPED).read_text().splitlines() == ["a.tar/1: broken", "a.tar/2: two lines", "b.tar/9: silent"]
    assert again.skipped == 3


def test_only_one_process_keeps_the_log_but_all_list_their_clips(tmp_path):
    other = TrainingLog(tmp_path, writes=False)
    other.add({"step": 1, "loss": 2.0})
    other.list_skipped([("a.tar/1", "broken")])
    assert [path.name for path in tmp_path.iterdir()] == [SKIPPED]


def test_what_is_no_log_is_named(tmp_path):
    with pytest.raises(FobenchError, match=r"There is no .*log.csv. Give the --out folder"):
        training_log.read(tmp_path)
    (tmp_path / LOG).write_text("1,loss,2\nnonsense\n")
    with pytest.raises(FobenchError, match="line 2: 'nonsense' is not step,name,value"):
        training_log.read(tmp_path)
