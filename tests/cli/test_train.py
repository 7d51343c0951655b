"""`fobench train`: the stages that plugins bring, listed without loading any, found by name, each with a help of its own."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from fobench.api import registry
from fobench.api.hookspecs import hookimpl
from fobench.cli.main import main
from fobench.conformance import suite

STAGES = ("input-1", "input-2", "input-3", "output-1", "output-2", "output-3")


def run(*args):
    return CliRunner().invoke(main, ["train", *args])


@pytest.fixture
def plugin():
    """`plugin(factory)` registers the factory as the trainer `toy`."""

    def register(factory):
        toys = type("Toys", (), {"fobench_trainers": hookimpl(lambda self: {"toy": factory})})
        registry.manager().register(toys())
        registry.factories.cache_clear()

    registry.manager.cache_clear()
    yield register
    registry.manager.cache_clear()
    registry.factories.cache_clear()


def test_every_stage_is_listed_with_one_line():
    lines = run("--help").output.splitlines()
    for stage in STAGES:
        (line,) = [line for line in lines if line.strip().startswith(f"{stage} ")]
        assert len(line.split(None, 1)[1]) > 20
    assert max(map(len, lines)) <= 80


def test_an_example_in_a_help_keeps_its_lines():
    lines = run("latents", "--help").output.splitlines()
    assert "      fobench train latents --plan runs/data/output --out runs/data/latents \\" in lines


@pytest.mark.subprocess
def test_the_list_leaves_torch_alone():
    code = "import sys; from fobench.cli.main import main; main(['train', '--help'], standalone_mode=False); print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.endswith("False\n")


def test_an_unknown_stage_gets_its_nearest():
    result = run("inptu-1")
    assert result.exit_code == 2
    assert "Unknown stage 'inptu-1'. Did you mean 'input-1'" in result.output


@pytest.mark.parametrize("name", sorted(registry.factories("trainers")))
def test_each_has_a_help_that_fits_80_columns(name):
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith(f"Usage: main train {name} [OPTIONS]")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_takes_configuration_folder_and_settings(stage):
    said = run(stage, "--help").output
    assert {"--config", "--out", "--set", "--dry-run"} <= set(said.split())


def test_a_stages_own_errors_are_told_like_all_others(tmp_path):
    result = run("curves", str(tmp_path), "--out", str(tmp_path / "curves.svg"))
    assert result.exit_code == 2
    assert result.output.startswith("fobench: There is no ")


def test_anybody_can_bring_a_trainer(plugin):
    @click.command()
    @click.option("--steps", default=3)
    def toy(steps):
        """Trains a toy."""
        click.echo(f"trained {steps} steps")

    def factory():
        """A toy, in no time."""
        return toy

    plugin(factory)
    assert "A toy, in no time." in run("--help").output
    assert run("toy", "--steps", "5").output == "trained 5 steps\n"
    assert all(check.ok for check in suite.check("trainers", "toy"))


def test_a_trainer_whose_packages_are_missing_says_how_to_get_them(plugin):
    def factory():
        """A toy of another world."""
        import no_such_package_at_all  # noqa: F401

    plugin(factory)
    result = run("toy")
    assert result.exit_code == 2
    assert (
        "No module named 'no_such_package_at_all'. Its packages come with: pip install 'fobench[train]'"
        in result.output
    )


def test_a_trainer_that_is_no_command_is_found_out(plugin):
    def factory():
        """A toy."""
        return "toy"

    plugin(factory)
    assert not all(check.ok for check in suite.check("trainers", "toy"))
