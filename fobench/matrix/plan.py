"""A matrix: the same suites with every backbone and codec, one run per cell, and each codec's encode-decode control.

If the system takes a codec, every backbone runs with every codec. If it takes none (the cascade speaks by a TTS voice), the
codecs are measured by the control only. The control encodes and decodes the user turns: its loss is independent of any
backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fobench.api import registry
from fobench.api.option_strings import check_owners, options_for, split_names
from fobench.api.registry import ComponentSpec
from fobench.atomic_files import file_name
from fobench.errors import FobenchError
from fobench.execution.run import Run
from fobench.execution.scenario_selection import select
from fobench.matrix.codec_resynthesis import CodecBenchmark, CodecControl, user_clips
from fobench.storage.run_config import RunConfig
from fobench.storage.run_folder import RunFolder
from fobench.storage.run_lock import locked


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """One cell of the matrix: a run with one backbone and codec."""

    name: str
    config: RunConfig

    @property
    def folder(self) -> str:
        """The name of the cell's run folder."""
        return file_name(self.name.replace(" ", "--"))


@dataclass(frozen=True, slots=True)
class MatrixPlan:
    """The cells of a matrix, the codecs of the control, and the reference ASR that transcribes the control."""

    cells: tuple[MatrixCell, ...]
    codecs: tuple[ComponentSpec, ...] = ()
    judge: ComponentSpec | None = None  # for the controls

    def controls(self, on_error: Callable[[str, Exception], None]) -> Iterator[CodecControl]:
        """The encode-decode control of each codec over all user turns. Each original is transcribed once.

        `on_error` is called with the name and the error of a codec that fails; the others are still measured.
        """
        if not self.codecs or not self.judge:
            return
        clips = list(user_clips(select(self.cells[0].config)))
        bench = CodecBenchmark(registry.create(self.judge), registry.create("metrics", "dnsmos"))
        for codec in self.codecs:
            try:
                control = bench.control(codec.name, registry.create(codec), clips)
            except Exception as error:  # a plugin may raise anything
                on_error(codec.name, error)
            else:
                yield control


def plan(config: RunConfig) -> MatrixPlan | None:
    """The matrix that `--backbone a,b --codec x,y` asks for; None for one backbone and at most one codec.

    Raises `FobenchError` for a name given twice, one that nobody provides, and an option that a component does not take.
    """
    backbones, codecs = split_names("--backbone", config.backbone), split_names("--codec", config.codec)
    if len(backbones) < 2 and len(codecs) < 2:
        return None
    check_owners("backbone", "--backbone-args", config.backbone_args, backbones)
    check_owners("codec", "--codec-args", config.codec_args, codecs)
    for name in backbones:
        registry.spec("backbones", name, options_for(config.backbone_args, name))
    controls = tuple(registry.spec("codecs", name, options_for(config.codec_args, name)) for name in codecs)
    judge = config.judge_spec()
    if codecs and not judge:
        raise FobenchError(
            "The encode-decode control of codecs needs the reference ASR: leave out --judge none, or --codec."
        )
    factory, leading = registry.find("systems", config.system)
    takes_codec = "codec" in registry.option_types(factory, skip=len(leading))
    cells = [
        _cell(config, backbone, codec)
        for backbone in backbones or (None,)
        for codec in (codecs if takes_codec and codecs else (None,))
    ]
    return MatrixPlan(tuple(cells), controls, judge)


def begin_or_resume(cell: MatrixCell, folder: Path) -> Run:
    """The cell's run: a new one, or the one in `folder` resumed. Raises `FobenchError` if that has another configuration."""
    if not (folder / "run.json").exists():
        return Run.begin(cell.config, folder)
    if not RunFolder(folder).traces_path.exists():  # no scenario was finished
        with locked(folder):
            RunFolder(folder).discard()
            return Run.begin(cell.config, folder)
    try:
        return Run.resume(folder, cell.config.to_json())
    except FobenchError as error:
        raise FobenchError(
            f"{folder} holds a run that this one cannot complete. {error} Or choose another --output."
        ) from error


def _cell(config: RunConfig, backbone: str | None, codec: str | None) -> MatrixCell:
    own = replace(
        config,
        backbone=backbone,
        backbone_args=options_for(config.backbone_args, backbone),
        codec=codec,
        codec_args=options_for(config.codec_args, codec) if codec else {},
    )
    return MatrixCell(" ".join(filter(None, (backbone, codec))) or config.system, own)
