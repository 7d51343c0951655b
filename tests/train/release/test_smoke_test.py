"""`make train-tiny`: valid options of its stages, its table of results, and training of its LLM."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fobench.api import registry
from fobench.scoring.text_normalization import normalize_as_whisper
from reference_model.config import ModelConfig
from reference_model.train.llm import tiny_llm
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.release import smoke_test
from reference_model.train.release.smoke_test import (
    ANSWERS,
    CONFIG,
    STAGES,
    SmokeCheck,
    SmokePaths,
    StageResult,
    main,
    report,
)
from reference_model.train.texts.sentence_set import split_of, text_id

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.label)
def test_every_stage_has_options_that_there_are(stage, tmp_path):
    args = [option.format(**SmokePaths(tmp_path).by_name) for option in stage.options]
    registry.create("trainers", stage.name).make_context(stage.name, args, resilient_parsing=True)


def test_all_six_stages_are_among_them():
    assert {stage.name for stage in STAGES} == {f"{side}-{n}" for side in ("input", "output") for n in (1, 2, 3)}
    assert all(stage.factor > 1 for stage in STAGES)


def test_no_question_is_kept_aside():
    assert {split_of(text_id(normalize_as_whisper(question))) for question in ANSWERS} == {"train"}
    assert len(ANSWERS) == 8


def test_the_table_says_what_fell_short():
    rows = [StageResult("input-1", 300, 20.0, 2.0, 5.0, 30.0), StageResult("input-2", 120, 4.0, 3.0, 5.0, 20.0)]
    told = report(rows, [SmokeCheck("TTS of answers", False, "WER 12.5%")], 50.0).splitlines()
    assert [row.passed for row in rows] == [True, False]
    assert "10.0" in told[1]
    assert not told[1].endswith("FAILED")
    assert told[2].endswith("FAILED")
    assert told[3].split(None, 3)[3] == "FAILED: WER 12.5%"


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    result = CliRunner().invoke(main, ["--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "was not created by this command" in result.stderr
    assert (tmp_path / "thesis.txt").exists()


def test_its_llm_learns_and_can_be_learned_through(tmp_path):
    losses = [tiny_llm.train_tiny_llm(tmp_path / str(steps), ANSWERS, "Answer.", "Copy.", steps) for steps in (1, 30)]
    assert losses[1] < 0.85 * losses[0]
    frozen = FrozenLLM.load(f"hf:{tmp_path / '30'}", "cpu")
    assert frozen.size == ModelConfig.load(CONFIG).llm_size
    ids = frozen.backbone.encode("The sky is blue.")
    assert len(ids) <= 6  # its words are tokens
    assert frozen.backbone.tokenizer.decode(ids) == "The sky is blue."


@pytest.mark.slow
def test_a_tiny_model_learns_all_six_stages(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", smoke_test.__name__, "--out", str(tmp_path / "tiny")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
