"""Settings of the training loop from the command line: types, ranges and names are checked."""

import pytest

from fobench.errors import FobenchError
from reference_model.train.engine.loop_config import LoopConfig, describe_settings, parse_loop_config


def test_the_command_line_wins_over_the_stage_over_the_usual():
    assert parse_loop_config(
        {"lr": 1e-3, "steps": 50}, ["steps=7", "precision=bf16", "betas=[0.8, 0.9]"]
    ) == LoopConfig(lr=1e-3, steps=7, precision="bf16", betas=(0.8, 0.9))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("stesp=4", r"Unknown setting of the loop 'stesp'. Did you mean 'steps'"),
        ("steps", "write NAME=VALUE"),
        ("steps=many", "a whole number"),
        ("steps=2.5", "a whole number"),
        ("steps=0", "must be a whole number from 1 to 1,000,000,000"),
        ("lr=-1", "must be a number from 0 to 10"),
        ("lr=true", "a number"),
        ("accumulate=0", "must be a whole number from 1"),
        ("lr=nan", "a number, not NaN"),
        ("lr=inf", "must be a number from 0 to 10"),
        ("steps=inf", "a whole number"),
        ("steps=99999999999999999999", "must be a whole number from 1 to"),
        ("precision=fp8", "one of no, bf16, fp16"),
        ("betas=0.9", "a list of 2 numbers"),
        ("betas=[0.9, 1]", "at least 0 and below 1"),
        ("decay=1.5", "must be a number from 0 to 1"),
        ("clip=1e300", "must be a number from 0 to"),
        ("seed=-1", "must be a whole number from 0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(pair, message):
    with pytest.raises(FobenchError, match=message):
        parse_loop_config({}, [pair])


def test_whole_numbers_may_be_written_with_a_power_of_ten():
    assert parse_loop_config({}, ["steps=2e3", "lr=1"]) == LoopConfig(steps=2000, lr=1.0)


def test_help_shows_the_stages_own_settings():
    assert describe_settings({"lr": 0.001}).startswith("steps=1000, lr=0.001, warmup=100, decay=0.3, betas=[0.9,0.98]")
