"""`fobench codec`: encode-decode of clips by a codec, with WER and DNSMOS before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fobench.api.option_ranges import SCENARIOS, SEED
from fobench.api.option_strings import check_owners, options_for, split_names
from fobench.atomic_files import file_name, write_text
from fobench.cli.options import ExistingPath, NewFolder, named_args, pairs, whole_number
from fobench.cli.report import new_folder
from fobench.console import counted
from fobench.errors import FobenchError
from fobench.matrix.codec_report import page, show, write

if TYPE_CHECKING:
    from fobench.matrix.codec_resynthesis import CodecClip


@click.command()
@click.argument("codecs", metavar="NAME[,NAME]")
@click.argument("clips", nargs=-1, type=ExistingPath(dir_okay=False))
@click.option(
    "--args",
    "options",
    multiple=True,
    callback=pairs,
    metavar="NAME=VALUE",
    help="An option of the codec; for one of several codecs: CODEC:NAME=VALUE.",
)
@click.option("--text", help="Reference text of the clip; default: the reference ASR's transcript of the original.")
@click.option(
    "--suite", "-s", "suites", multiple=True, help="Add the user turns of a suite, with their texts; repeatable."
)
@named_args("--suite-args", "suites")
@click.option("--limit", "-L", type=whole_number(SCENARIOS), help="At most this many scenarios of each suite.")
@click.option("--judge", default="whisper", show_default=True, help="The reference ASR (fobench ls recognizers).")
@named_args("--judge-args", "reference ASR")
@click.option("--seed", type=whole_number(SEED), default=0, show_default=True, help="Seed of the suites.")
@click.option("--output", "-o", type=NewFolder(), help="Folder; default: runs/<time>-codec-NAME.")
def codec(
    codecs: str,
    clips: tuple[Path, ...],
    options: Mapping[str, str],
    text: str | None,
    judge: str,
    judge_args: Mapping[str, str],
    output: Path | None,
    **suites: Any,
) -> None:
    """Measure a codec alone: WER and DNSMOS before and after.

    CLIPS are audio files. Each is encoded and decoded, and before and after transcribed by the reference ASR and rated by
    DNSMOS; the difference is the codec's contribution. The folder holds the resynthesized audio as FLAC, codec.json, and the
    transcripts in heard.json; with several codecs, each has a subfolder. codecs.md is the table.
    """
    from fobench.api import registry
    from fobench.matrix import codec_resynthesis

    chosen = _create_codecs(codecs, options)

    selected = [*_clips_of_files(clips, text), *_clips_of_suites(**suites)]
    if not selected:
        raise FobenchError("No clips: name audio files or a --suite.")
    folder = output or new_folder(f"codec-{'-'.join(chosen)}")
    bench = codec_resynthesis.CodecBenchmark(
        registry.create("recognizers", judge, judge_args), registry.create("metrics", "dnsmos")
    )
    controls = []
    for name, component in chosen.items():
        own = folder / file_name(name) if len(chosen) > 1 else folder
        own.mkdir(parents=True, exist_ok=True)
        controls.append(bench.control(name, component, selected, partial(_save, own)))
        write(own, controls[-1])
    write_text(folder / "codecs.md", page(controls))
    show(controls)
    click.echo(f"{counted(len(selected), 'clip')} -> {folder}")


def _create_codecs(codecs: str, options: Mapping[str, str]) -> dict[str, Any]:
    """{name: codec} of a comma-separated list. Raises `FobenchError` for an option of another codec."""
    from fobench.api import registry

    chosen = split_names("codecs", codecs)
    if not chosen:
        raise FobenchError("No codec is named. Choices: fobench ls codecs.")
    check_owners("codec", "--args", options, list(chosen))
    return {name: registry.create("codecs", name, options_for(options, name)) for name in chosen}


def _clips_of_files(paths: Sequence[Path], text: str | None) -> list[CodecClip]:
    from fobench import audio
    from fobench.matrix.codec_resynthesis import CodecClip

    if text is not None and len(paths) != 1:
        raise FobenchError(
            f"--text is the text of one clip, not of {len(paths)}. For several texts: --suite manifest:FILE."
        )
    stems = [path.stem for path in paths]
    if len(set(stems)) < len(stems):
        raise FobenchError(
            f"Two clips have the same name: {', '.join(stems)}. Rename one: outputs are named after clips."
        )
    return [CodecClip(path.stem, audio.load(path), text) for path in paths]


def _clips_of_suites(
    suites: tuple[str, ...], suite_args: Mapping[str, str], limit: int | None, seed: int
) -> list[CodecClip]:
    from fobench.execution.scenario_selection import select
    from fobench.matrix.codec_resynthesis import user_clips
    from fobench.storage.run_config import RunConfig

    if not suites:
        return []
    return list(user_clips(select(RunConfig(suites=suites, suite_args=suite_args, limit=limit, seed=seed))))


def _save(folder: Path, clip: CodecClip, sound: Any) -> None:
    from fobench import audio

    audio.save(folder / f"{file_name(clip.name)}.flac", sound.samples, sound.rate_hz)
