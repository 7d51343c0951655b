"""Options from the command line, variables and files: what is refused, and with which words."""

import json
import os

import pytest
from click.testing import CliRunner

from fobench.api.option_strings import options_for
from fobench.api.registry import ComponentSpec
from fobench.cli.main import main
from fobench.errors import FobenchError
from fobench.execution.run import Run
from fobench.storage.run_config import RunConfig
from fobench.storage.run_folder import RunFolder

PLAIN = ("--suite", "controls", "--judge", "none", "--costs", "declared", "--system", "scripted:silent")


@pytest.fixture(autouse=True)
def begun(monkeypatch, tmp_path):
    """Runs are begun, and their configuration written, but not executed."""
    monkeypatch.setenv("FOBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Run, "execute", lambda self, watch: None)


def fobench(*arguments, **environment):
    return CliRunner().invoke(main, [str(a) for a in arguments], env=environment)


def configured(folder):
    return RunFolder(folder).read_run()["config"]


def from_file(tmp_path, text, *arguments, **environment):
    """The output of a run that takes its options from a file with this text (or bytes)."""
    path = tmp_path / "options.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return fobench("run", "--config", path, "--output", tmp_path / "run", *arguments, **environment)


EVERY = """
suite = ["controls"]
sample-id = "question-01"
system = "scripted:late"
judge = "none"
costs = "declared"
time_limit = 9
playback-delay = 20
text-routes = false
limit = 2
[system-args]
delay_ms = 800
[suite-args]
count = 4
"""


def test_a_files_keys_are_the_long_names_of_the_options(tmp_path):
    assert from_file(tmp_path, EVERY).exit_code == 0
    config = configured(tmp_path / "run")
    assert (config["suites"], config["sample_ids"], config["time_limit_s"]) == (["controls"], ["question-01"], 9.0)
    assert (config["playback_delay_ms"], config["text_routes"], config["limit"]) == (20, False, 2)
    assert (config["system_args"], config["suite_args"]) == ({"delay_ms": "800"}, {"count": "4"})


def test_the_command_line_wins_over_variables_and_these_over_the_file(tmp_path):
    from_file(tmp_path, EVERY, "--limit", 3, FOBENCH_LIMIT="4", FOBENCH_PLAYBACK_DELAY="40")
    config = configured(tmp_path / "run")
    assert (config["limit"], config["playback_delay_ms"], config["time_limit_s"]) == (3, 40, 9.0)


def test_the_file_can_be_named_by_a_variable(tmp_path):
    (tmp_path / "a.toml").write_text(EVERY)
    fobench("run", "--output", tmp_path / "run", FOBENCH_CONFIG=str(tmp_path / "a.toml"))
    assert configured(tmp_path / "run")["limit"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("suites = 'controls'", "Did you mean 'suite'"),
        ("time_limit_s = 3", "Did you mean 'time-limit'"),
        ("config = 'other.toml'", "Unknown option in"),
        ("limit = 'two'", "options.toml: limit = 'two': must be a whole number"),
        ("limit = true", "limit = True: must be a whole number"),
        ("limit = 0", "options.toml: limit = 0: 0 is not in the range 1<=x<=100000"),
        ("time-limit = 'soon'", "time-limit = 'soon': must be a number"),
        ("time_limit = nan", "time_limit = nan: must be a number, not NaN"),
        ("text-routes = 'no'", "text-routes = 'no': must be true or false"),
        ("suite = [1]", "suite = [1]: must be a text or a list of texts"),
        ("system = ['a']", "system = ['a']: must be a text"),
        ("time-limit = 1" + 400 * "0", "must be a number"),
        ("limit = 1" + 5000 * "0", "cannot be read as TOML"),
        ("seed = 0x" + 5000 * "f", "seed = a number of thousands of digits: must be a whole number"),
        ("clock = 'sun'", "clock = 'sun': 'sun' is not one of 'auto', 'virtual', 'wall'"),
        ("system-args = ['a']", "system-args = ['a']: must be a table"),
        ("system-args = {a = [1]}", "must be a table of texts, numbers, true or false"),
        ("suite = [", "cannot be read as TOML"),
        (b"\xff\xfe\x00", "cannot be read as TOML: it is not UTF-8"),
    ],
)
def test_what_a_file_must_not_hold_is_told(tmp_path, text, message):
    told = from_file(tmp_path, text)
    assert told.exit_code == 2
    assert message in told.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1", "soon"])
@pytest.mark.parametrize("name", ["--time-limit", "--margin"])
def test_a_limit_or_margin_that_is_none_is_refused_by_name(tmp_path, name, value):
    told = fobench("run", *PLAIN, "--output", tmp_path / "run", name, value)
    assert told.exit_code == 2
    assert f"Invalid value for '{name}'" in told.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("--limit", value) for value in ("0", "-1", "100000000000000000000", "1.5", "nan")),
        *(("--workers", value) for value in ("0", "1000000")),
        *(("--seed", value) for value in ("-1", "18446744073709551616", "9" * 5000)),
        *(("--time-limit", value) for value in ("1e10", "1e999", "-0")),
        *(("--playback-delay", value) for value in ("-1", "1000000000")),
        *(("--echo", value) for value in ("nan", "-inf", "1e9")),
        *(("--echo-delay", value) for value in ("-1", "999999999")),
    ],
)
@pytest.mark.parametrize("way", ["argument", "variable"])
def test_a_number_out_of_range_is_refused_before_the_run(tmp_path, name, value, way):
    variable = {"FOBENCH_" + name[2:].replace("-", "_").upper(): value}
    given = (name, value) if way == "argument" else ()
    told = fobench("run", *PLAIN, "--output", tmp_path / "run", *given, **({} if given else variable))
    assert told.exit_code == 2 and f"Invalid value for '{name}'" in told.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option",
    [
        "hangover_ms=999999999",
        "hangover_ms=-1",
        "hangover_ms=1e400",
        "writes=half \udcff",
        "zz=1",
        "=1",
    ],
)
def test_an_option_of_a_component_out_of_range_is_refused_before_the_run(tmp_path, option):
    told = fobench("run", *PLAIN, "--output", tmp_path / "run", "--system-args", option)
    assert told.exit_code == 2 and "Traceback" not in told.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["", "half \udcff"])
@pytest.mark.parametrize("name", ["--system", "--backbone", "--judge", "--suite", "--costs", "--sample-id"])
def test_a_name_that_is_none_is_refused_before_the_run(tmp_path, name, value):
    told = fobench("run", *PLAIN, "--output", tmp_path / "run", name, value)
    assert told.exit_code == 2 and told.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["/dev/full", "/dev/zero", "/dev/urandom", "/", "fifo", "sparse", "deep", "binary"])
@pytest.mark.parametrize("option", ["--config", "--costs"])
def test_a_file_that_is_none_is_neither_waited_for_nor_read_to_its_end(tmp_path, place, option):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "deep").write_text("a = " + "[" * 100_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(5 << 30)
    path = tmp_path / place
    told = fobench(
        "run", *PLAIN, "--output", tmp_path / "run", option, path if option == "--config" else f"declared:{path}"
    )
    assert told.exit_code == 2 and "cannot be read" in told.output
    assert len(told.output) < 500 and not (tmp_path / "run").exists()


def test_a_null_character_from_a_file_is_refused(tmp_path):
    for key in ("output", "resume", "system", "suite", "costs", "baseline"):
        told = from_file(tmp_path, f'{key} = "a\\u0000b"')
        assert told.exit_code == 2 and "Traceback" not in told.output, key


def test_scoring_refuses_them_too(tmp_path):
    assert "Invalid value for '--margin'" in fobench("score", tmp_path, "--margin", "nan").output


def test_an_empty_folders_name_is_refused():
    assert "it is empty: name a folder" in fobench("run", *PLAIN, "--output", "").output


def test_a_folders_name_that_is_not_utf_8_is_refused(tmp_path):
    output = fobench("run", *PLAIN, "--output", f"{tmp_path}/run-\udcff").output
    assert "is not UTF-8: choose another name" in output


# ---- Resuming --------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    fobench("run", *PLAIN, "--limit", 2, "--output", tmp_path / "run")
    return tmp_path / "run"


def test_options_that_differ_from_the_resumed_runs_are_refused_by_name(run):
    told = fobench("run", "--resume", run, "--limit", 5, "--time-limit", 9, "--suite", "controls")
    assert told.exit_code == 2
    assert "--limit (there 2, given 5), --time-limit (there 120.0, given 9.0)." in told.output


@pytest.mark.parametrize("environment", [{"FOBENCH_SEED": "3"}, {"FOBENCH_CONFIG": "a.toml"}])
def test_also_where_a_variable_or_a_file_sets_them(run, tmp_path, monkeypatch, environment):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text("seed = 3")
    assert "--seed (there 0, given 3)" in fobench("run", "--resume", run, **environment).output


def test_another_folder_is_refused(run, tmp_path):
    assert "leave out --output" in fobench("run", "--resume", run, "--output", tmp_path / "other").output
    assert fobench("run", "--resume", run, "--output", run).exit_code == 0


def test_the_same_options_and_other_workers_are_taken(run):
    assert fobench("run", "--resume", run, *PLAIN, "--limit", 2, "--workers", 2).exit_code == 0


def test_the_folder_can_be_named_by_a_variable(run):
    assert fobench("run", "--workers", 2, FOBENCH_RESUME=str(run)).exit_code == 0


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "it has the wrong type: expected object, got array"),
        ({"config": []}, "config has the wrong type: expected object, got array"),
        ({"config": {"limit": "a"}}, "limit is 'a'; it must be a whole number or none"),
        ({"config": {"workers": True}}, "workers is True; it must be a whole number"),
        ({"config": {"suites": [1]}}, "suites is [1]; it must be a list of texts"),
        ({"config": {"clock": "sun"}}, "clock is 'sun'; it must be one of auto, virtual, wall"),
        ({"scenarios": [1]}, "scenarios[0] has the wrong type: expected str, got int"),
    ],
)
@pytest.mark.parametrize("command", [("score",), ("report",), ("run", "--resume")])
def test_a_record_of_the_wrong_shape_is_told(run, record, message, command):
    (run / "run.json").write_text(json.dumps(record))
    told = fobench(*command, run)
    assert told.exit_code == 2
    assert f"run.json is not what a run writes: {message}" in told.output


def test_a_record_without_its_configuration_cannot_be_resumed(run):
    (run / "run.json").write_text("{}")
    assert "has no config and no scenarios_sha256" in fobench("run", "--resume", run).output


# ---- Options of several suites ---------------------------------------------------------------------------------------


def options(suite, **args):
    return options_for({"seed": 1, **args}, suite)


def test_an_option_can_be_for_one_suite_or_one_family():
    args = {"controls:count": 4, "manifest:skip_bad": True, "manifest:a:shuffle": True, "manifest:b:seed": 2}
    assert options("controls", **args) == {"seed": 1, "count": 4}
    assert options("manifest:a", **args) == {"seed": 1, "skip_bad": True, "shuffle": True}
    assert options("manifest:b", **args) == {"seed": 2, "skip_bad": True}


def test_an_option_for_a_suite_that_is_not_run_is_refused():
    with pytest.raises(FobenchError, match=r"Unknown suite in --suite-args 'control'\. Did you mean 'controls'"):
        RunConfig(suites=("controls",), suite_args={"control:count": 4}).suite_specs()


def test_each_suite_gets_its_own_options():
    config = RunConfig(suites=("controls", "controls"), suite_args={"count": "4", "controls:text": "Hello"})
    assert config.suite_specs() == (ComponentSpec("suites", "controls", {"count": 4, "text": "Hello"}),)
