"""The checkpoints in the package: found by name, the default for their backbones, refused for others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fobench.api import registry
from fobench.api.hookspecs import hookimpl
from fobench.cli.main import main
from fobench.errors import FobenchError
from fobench.storage.run_config import default_system
from fobench_plugins.checkpoints import SHIPPED, shipped
from reference_model.checkpoint import loading, safetensors_io, sharded
from reference_model.checkpoint.loading import untrained
from reference_model.model import FreezeOmni
from reference_model.train.release import package_weights
from tests.support.tiny_models import folder as llm_folder

ROOT = Path(__file__).parents[3]
VAD = {"vad": "loudness", "turn_end": "vad"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A model of `tiny`'s sizes that names a backbone."""
    path = tmp_path_factory.mktemp("saved") / "tiny.safetensors"
    loading.save(FreezeOmni(replace(untrained("tiny").config, backbone="toy")), path)
    return path


@pytest.fixture
def carried(saved, tmp_path, registered):
    """A package that ships it, and a backbone `toy` that it fits."""
    package_weights.package_checkpoint(saved, tmp_path / "shipped" / "toy")
    registered(backbones=lambda: _toy())
    found = shipped(tmp_path / "shipped")
    registry.manager().register(type("Package", (), {"fobench_checkpoints": hookimpl(lambda self: found)})())
    registry.factories.cache_clear()
    return tmp_path / "shipped" / "toy"


def _toy():
    made = registry.create("backbones", f"hf:{llm_folder('qwen2')}", {"device": "cpu", "dtype": "float32"})
    made.name = "toy"
    return made


# ---- by name ---------------------------------------------------------------------------------------------------------


def test_it_is_listed(carried):
    listed = CliRunner().invoke(main, ["ls", "checkpoints"]).output
    assert "freeze-omni/toy" in listed and "pinned by hash" in listed


def test_a_backbone_with_one_gets_freeze_omni(carried):
    assert default_system("toy", None) == "freeze-omni"
    system = registry.create("systems", "freeze-omni", {"backbone": "toy", **VAD})
    about = system.about()
    assert (about["checkpoint"], about["trained"], about["backbone"]) == ("freeze-omni/toy", True, "toy")
    assert about["checkpoint_sha256"] == sharded.digest(carried)


def test_the_folder_itself_can_be_given(carried):
    options = {"backbone": f"hf:{llm_folder('qwen2')}", "checkpoint": str(carried), **VAD}
    assert registry.create("systems", "freeze-omni", options).about()["trained"] is True


def test_what_is_shipped_is_what_was_saved(saved, carried):
    before, after = (loading.load(path, device="cpu") for path in (saved, carried))
    assert before.config == after.config
    assert all((value == after.state_dict()[key]).all() for key, value in before.state_dict().items())


@pytest.mark.skipif(not sharded.is_folder(SHIPPED / "any"), reason="no weights are in the package")
class TestTheTrainedOne:
    """`freeze-omni/any`, as it lies in the repository."""

    folder = SHIPPED / "any"

    def test_the_shipped_checkpoint_loads(self):
        model = loading.load(self.folder, device="cpu")
        assert (model.config.name, model.config.backbone, model.config.llm_size) == ("small", "", 0)
        assert loading.made_for(self.folder) == loading.ANY

    def test_it_has_at_most_60_mb_and_a_card(self):
        assert sum(path.stat().st_size for path in self.folder.glob("*.safetensors")) <= 60_000_000
        assert (self.folder / "MODEL_CARD.md").is_file()

    def test_its_card_names_its_index(self):
        assert f"SHA-256 of the index: `{sharded.digest(self.folder)}`" in (self.folder / "MODEL_CARD.md").read_text()

    def test_every_file_of_weights_is_pinned(self):
        assert {pin["name"] for pin in sharded.read(self.folder)["parts"]} == {
            path.name for path in self.folder.glob("*.safetensors")
        }

    def test_it_is_the_default(self):
        for backbone in (None, "smollm2-135m", "qwen2.5-coder-1.5b", "hf:some/other"):
            assert default_system(backbone, None) == "freeze-omni"

    def test_it_is_taken_for_any_backbone(self):
        options = {
            "backbone": f"hf:{llm_folder('qwen2', 32)}",
            "device": "cpu",
            "dtype": "float32",
            "second_pass": "none",
        }
        about = registry.create("systems", "freeze-omni", {**options, **VAD}).about()
        assert (about["checkpoint"], about["trained"]) == ("freeze-omni/any", True)


@pytest.mark.slow
def test_a_wheel_carries_it_and_finds_it(saved, tmp_path):
    """Built from the repository's files, installed elsewhere, asked from another folder."""
    for name in ("fobench", "plugins", "reference_model"):
        shutil.copytree(ROOT / name, tmp_path / "tree" / name, ignore=shutil.ignore_patterns("__pycache__", "shipped"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "tree")
    package_weights.package_checkpoint(saved, tmp_path / "tree/reference_model/shipped/toy")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, tmp_path / "tree"], check=True)
    wheel = next(tmp_path.glob("*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--target", tmp_path / "site", wheel], check=True)
    code = "from fobench.api import registry; print(registry.create('checkpoints', 'freeze-omni/toy'))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    found = Path(asked.stdout.strip())
    assert found == tmp_path / "site/reference_model/shipped/toy", asked.stderr
    loading.load(found, device="cpu")


# ---- refused ---------------------------------------------------------------------------------------------------------


def test_another_backbone_of_the_same_size_is_refused_with_both_names(carried):
    model = loading.load(carried, device="cpu")
    with pytest.raises(FobenchError, match=r"was made for backbone toy .*'qwen2-7b' has 64"):
        loading.check_backbone(model, "qwen2-7b", 64)
    loading.check_backbone(model, "hf:my/copy-of-toy", 64)


def test_another_backbone_of_another_size_is_refused_with_both_names(carried):
    options = {"backbone": f"hf:{llm_folder('qwen2', 32)}", "checkpoint": str(carried), **VAD}
    with pytest.raises(FobenchError, match=r"made for backbone toy \(hidden size 64\); 'hf:.*' has 32"):
        registry.create("systems", "freeze-omni", options)


def test_weights_of_another_configuration_are_refused(saved, tmp_path):
    config, tensors = safetensors_io.load(saved)
    safetensors_io.save_tensors(tensors, {**config, "prompts": 5}, tmp_path / "other.safetensors")
    with pytest.raises(FobenchError, match=r"wrong shapes in prompt \(\[4, 64\], not \[5, 64\]\)"):
        package_weights.package_checkpoint(tmp_path / "other.safetensors", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_stages_own_checkpoint_is_no_model(saved, tmp_path):
    safetensors_io.save_tensors(safetensors_io.load(saved)[1], {"encoder": {}}, tmp_path / "stage.safetensors")
    with pytest.raises(FobenchError, match=r"stage\.safetensors: encoder"):
        package_weights.package_checkpoint(tmp_path / "stage.safetensors", tmp_path / "to")


def test_a_truncated_part_is_refused(carried):
    part = next(carried.glob("codec-*.safetensors"))
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(FobenchError, match=r"has 100 bytes, not the"):
        registry.create("systems", "freeze-omni", {"backbone": "toy", **VAD})


def test_what_is_too_large_or_of_no_backbone_is_not_shipped(saved, tmp_path, monkeypatch):
    loading.save(untrained("tiny"), tmp_path / "nameless.safetensors")
    told = CliRunner().invoke(package_weights.main, [str(tmp_path / "nameless.safetensors")])
    assert told.exit_code == 2 and "names no backbone" in told.output
    monkeypatch.setattr(package_weights, "LIMIT_BYTES", 1000)
    with pytest.raises(FobenchError, match=r"holds 0\.\d MB of weights; the limit is 0 MB"):
        package_weights.package_checkpoint(saved, tmp_path / "to")
