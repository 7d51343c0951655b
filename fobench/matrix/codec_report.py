"""The tables and files of a codec's encode-decode control."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fobench.console import counted, markdown_table, table

if TYPE_CHECKING:
    from fobench.matrix.codec_resynthesis import CodecControl

COLUMNS = ("codec", "kbit/s", "WER before", "after", "codec's share", "DNSMOS before", "after", "RTF")


def write(folder: Path, control: CodecControl) -> None:
    """codec.json: the scores, and on what they were made; heard.json: the words that were heard, which may not be ours to publish."""
    from fobench.storage import environment

    heard = [{"clip": t.clip, "before": t.before.heard, "after": t.after.heard} for t in control.trips]
    record = {
        **control.to_json(),
        "machine": environment.about(),
        "packages": environment.packages(),
        "git": environment.git(),
    }
    for name, plain in (("codec.json", record), ("heard.json", heard)):
        (folder / name).write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def show(controls: Sequence[CodecControl]) -> None:
    """A row a codec, on the terminal."""
    table(_title(controls), COLUMNS, map(row, controls))


def page(controls: Sequence[CodecControl]) -> str:
    """codecs.md"""
    told = "The codec's share, in points, is its WER less that of the original; its 95 % interval by a paired bootstrap over clips."
    return "\n".join([f"# {_title(controls)}", "", *markdown_table(COLUMNS, [*map(row, controls)]), "", told, ""])


def _title(controls: Sequence[CodecControl]) -> str:
    against = "the clips' texts" if controls[0].referenced else "what was heard in the originals"
    return f"{counted(len(controls[0].trips), 'clip')}, WER against {against}"


def row(control: CodecControl) -> tuple[str, ...]:
    """A codec's figures as texts, in the order of `COLUMNS`."""
    share, interval = control.codec_wer()
    told = f"{_points(share)} ({_points(interval[0])} to {_points(interval[1])})" if interval else _points(share)
    weights = str(control.about.get("weights", ""))
    return (
        f"{control.codec} ({weights})" if weights.startswith("random") else control.codec,
        f"{control.bits_per_s / 1000:.2f}",
        _percent(control.wer("before")),
        _percent(control.wer("after")),
        told,
        _plain(control.mos("before")),
        _plain(control.mos("after")),
        _plain(control.rtf()),
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _points(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:+.1f}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
