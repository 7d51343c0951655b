"""The tables and files of the codecs' encode-decode control."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fobench.atomic_files import write_text
from fobench.console import counted, markdown_table, table
from fobench.formatting import interval, number, percent, percentage_points

if TYPE_CHECKING:
    from fobench.matrix.codec_resynthesis import CodecControl

COLUMNS = ("codec", "kbit/s", "WER before", "after", "codec WER", "DNSMOS before", "after", "RTF")


def write(folder: Path, control: CodecControl) -> None:
    """Writes codec.json (scores and environment) and heard.json (transcripts, whose texts may not be free to publish)."""
    from fobench.storage import environment

    transcripts = [
        {"clip": t.clip, "before": t.before.transcript, "after": t.after.transcript} for t in control.results
    ]
    record = {
        **control.to_json(),
        "machine": environment.about(),
        "packages": environment.packages(),
        "git": environment.git(),
    }
    for name, plain in (("codec.json", record), ("heard.json", transcripts)):
        write_text(folder / name, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")


def show(controls: Sequence[CodecControl]) -> None:
    """Prints a table with a row per codec."""
    table(_title(controls), COLUMNS, map(table_row, controls))


def page(controls: Sequence[CodecControl]) -> str:
    """The content of codecs.md."""
    note = (
        "Codec WER is the WER after resynthesis minus that of the original, in percentage points, with the 95 % interval of a "
        "paired bootstrap over clips."
    )
    return "\n".join([f"# {_title(controls)}", "", *markdown_table(COLUMNS, [*map(table_row, controls)]), "", note, ""])


def _title(controls: Sequence[CodecControl]) -> str:
    against = "the reference texts" if controls[0].referenced else "the transcripts of the originals"
    return f"{counted(len(controls[0].results), 'clip')}, WER against {against}"


def table_row(control: CodecControl) -> tuple[str, ...]:
    """A codec's values as texts, in the order of `COLUMNS`."""
    share, ends = control.codec_wer()
    codec_wer = percentage_points(share)
    if ends:
        codec_wer = f"{codec_wer} ({interval(ends, 1, scale=100, signed=True)})"
    weights = str(control.about.get("weights", ""))
    return (
        f"{control.codec} ({weights})" if weights.startswith("random") else control.codec,
        number(control.bits_per_s / 1000, 2),
        percent(control.wer("before")),
        percent(control.wer("after")),
        codec_wer,
        number(control.mos("before"), 2),
        number(control.mos("after"), 2),
        number(control.rtf(), 2),
    )
