"""A matrix: the same suites with every backbone and codec, a run each, and the codecs on their own.

Where the system takes a codec, every backbone runs with every codec. Where it takes none (the cascade speaks with a voice), the
codecs are only measured on their own. Either way each codec's round trip of the users' clips is the control: what it costs is
to be blamed on no backbone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fobench.api import registry
from fobench.api.option_strings import check_owners, names, owned
from fobench.errors import FobenchError
from fobench.execution.run import Run
from fobench.execution.scenario_selection import select
from fobench.execution.worker import NO_JUDGE
from fobench.matrix.codec_resynthesis import CodecBenchmark, CodecControl, spoken
from fobench.storage.run_config import RunConfig
from fobench.storage.run_folder import RunFolder, file_name


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """One run of the matrix."""

    name: str
    config: RunConfig

    @property
    def folder(self) -> str:
        """Its name as a folder's."""
        return file_name(self.name.replace(" ", "--"))


@dataclass(frozen=True, slots=True)
class MatrixPlan:
    """The runs to be made, and the codecs to be measured on their own, each with its options."""

    cells: tuple[MatrixCell, ...]
    codecs: Mapping[str, Mapping[str, Any]]

    def controls(self, missed: Callable[[str, Exception], None]) -> Iterator[CodecControl]:
        """Each codec's round trip of all the users' clips, as it is done. The recogniser hears each original once.

        `missed` is told which codec cannot be measured, and why; the others still are.
        """
        if not self.codecs:
            return
        config = self.cells[0].config
        clips = list(spoken(select(config)))
        judge = registry.create("recognizers", config.judge, config.judge_args)
        bench = CodecBenchmark(judge, registry.create("metrics", "dnsmos"))
        for name, options in self.codecs.items():
            try:
                control = bench.control(name, registry.create("codecs", name, options), clips)
            except Exception as error:  # whatever a plugin raises
                missed(name, error)
            else:
                yield control


def plan(config: RunConfig) -> MatrixPlan | None:
    """The matrix that `--backbone a,b --codec x,y` asks for; None for one backbone and at most one codec.

    Raises `FobenchError` for a name given twice, one that nobody provides, and an option that a component does not take.
    """
    backbones, codecs = names("--backbone", config.backbone), names("--codec", config.codec)
    if len(backbones) < 2 and len(codecs) < 2:
        return None
    check_owners("backbone", "--backbone-args", config.backbone_args, backbones)
    check_owners("codec", "--codec-args", config.codec_args, codecs)
    for name in backbones:
        registry.checked("backbones", name, owned(config.backbone_args, name))
    options = {name: owned(config.codec_args, name) for name in codecs}
    for name in codecs:
        registry.checked("codecs", name, options[name])
    if codecs and config.judge == NO_JUDGE:
        raise FobenchError("The codecs' round trips are heard by the judge: leave out --judge none, or --codec.")
    factory, leading = registry.find("systems", config.system)
    inside = "codec" in registry.option_types(factory, skip=len(leading))
    cells = [
        _cell(config, backbone, codec)
        for backbone in backbones or (None,)
        for codec in (codecs if inside and codecs else (None,))
    ]
    return MatrixPlan(tuple(cells), options)


def begun(cell: MatrixCell, folder: Path) -> Run:
    """The cell's run: a new one, or the one in `folder` to be completed. Raises `FobenchError` if that was configured otherwise."""
    if not (folder / "run.json").exists():
        return Run.begin(cell.config, folder)
    if not RunFolder(folder).traces_path.exists():  # it never got anywhere
        shutil.rmtree(folder)
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
        backbone_args=owned(config.backbone_args, backbone),
        codec=codec,
        codec_args=owned(config.codec_args, codec) if codec else {},
    )
    return MatrixCell(" ".join(filter(None, (backbone, codec))) or config.system, own)
