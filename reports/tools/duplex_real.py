"""Makes full-duplex scenarios of real recordings: python reports/tools/duplex_real.py DATA OUT

DATA is a folder with the data sets mfa_disfluency (turns with hesitations), ami_excerpts_pyannote (single words of a
meeting as backchannels during a reply, and its speech as background) and noise_misc (noise during a reply). The command
writes manifest.jsonl and the audio excerpts into OUT. The user requests before a reply are synthesized by the suite. To
run the scenarios: fobench run --suite manifest:OUT
"""

import json
import sys
from pathlib import Path

import numpy as np
import soundfile

from fobench import audio

DATA, OUT = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
RATE = 16_000
REQUESTS = [
    ("Please tell me a story about a dog.", "af_aoede"),
    ("Tell me all about the history of Paris.", "af_kore"),
    ("Explain how rain is made, step by step.", "af_sarah"),
    ("Tell me about your favourite animal.", "am_echo"),
    ("Describe a day at the beach for me.", "am_liam"),
]


def rows(folder):
    """Returns the rows of a data set's manifest."""
    return [json.loads(line) for line in (DATA / folder / "manifest.jsonl").read_text().split("\n") if line]


def set_level(wave, dbfs):
    """Returns samples [T] scaled to an RMS level in dBFS, clipped to [-1, 1]."""
    return np.clip(wave * 10 ** (dbfs / 20) / max(1e-6, float(np.sqrt(np.mean(wave**2)))), -1, 1)


def write_excerpt(path, start, seconds, dbfs, name):
    """Writes an excerpt of a recording at a level in dBFS; returns its path relative to OUT."""
    wave = audio.load(path, RATE).samples[int(start * RATE) : int((start + seconds) * RATE)]
    soundfile.write(OUT / "audio" / f"{name}.flac", set_level(wave, dbfs), RATE)
    return f"audio/{name}.flac"


def overlap_scenario(name, role, clip, delay, index):
    """Returns a scenario in which `clip` starts `delay` seconds after the reply becomes audible."""
    request, speaker = REQUESTS[index % len(REQUESTS)]
    anchor = {"event": "reply_audible", "delay_s": delay}
    return {
        "id": name,
        "family": role,
        "patience_s": 20,
        "turns": [{"say": request, "speaker": speaker}, {"audio": clip, "role": role, "anchor": anchor}],
    }


def segments():
    """Returns {recording: sorted (start, length) of its speech segments} in seconds."""
    by_recording = {}
    for rttm in (DATA / "ami_excerpts_pyannote").glob("*.rttm"):
        for line in rttm.read_text().splitlines():
            _, uri, _, start, length, *_ = line.split()
            by_recording.setdefault(uri, set()).add((float(start), float(length)))
    return {uri: sorted(spans) for uri, spans in by_recording.items()}


def is_isolated(spans, start, length):
    """Returns whether no other segment lies within 0.1 s of a segment."""
    return not any(s < start + length + 0.1 and s + d > start - 0.1 for s, d in spans if (s, d) != (start, length))


def main():
    (OUT / "audio").mkdir(exist_ok=True, parents=True)
    lines = []
    for row in rows("mfa_disfluency"):  # a turn with hesitations is one turn
        if row["id"].startswith("mfa_") and 4 <= row["dur"] <= 14:
            clip = str(DATA / "mfa_disfluency" / row["audio"])
            lines.append(
                {"id": row["id"], "family": "hesitation", "audio": clip, "text": row["text"], "speaker": "mfa"}
            )
    ami = {row["rttm_uri"]: DATA / "ami_excerpts_pyannote" / row["audio"] for row in rows("ami_excerpts_pyannote")}
    short = [
        (u, s, d)
        for u, spans in segments().items()
        if u in ami
        for s, d in spans
        if d <= 0.8 and is_isolated(spans, s, d)
    ]
    for i, (uri, start, length) in enumerate(short):
        clip = write_excerpt(ami[uri], start - 0.05, length + 0.1, -22, f"backchannel-{uri}-{start:.2f}")
        lines.append(overlap_scenario(f"ami-backchannel-{i + 1:02d}", "backchannel", clip, 0.8 + 0.1 * (i % 10), i))
    for i, (uri, path) in enumerate(sorted(ami.items())):
        start = max((s for s, d in segments().get(uri, ()) if s <= 26), default=0.0)
        clip = write_excerpt(path, start, 3.5, -32, f"background-{uri}")
        lines.append(overlap_scenario(f"ami-background-{i + 1:02d}", "background", clip, 1.0 + 0.1 * (i % 10), i))
    for i, row in enumerate(rows("noise_misc")):
        clip = write_excerpt(
            DATA / "noise_misc" / row["audio"], 0, min(3.0, row["dur"]), -26, f"noise-{row['id'][:40]}"
        )
        lines.append(overlap_scenario(f"noise-{row['id'][:40]}", "noise", clip, 0.8 + 0.1 * (i % 10), i))
    (OUT / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(len(lines), "scenarios")


if __name__ == "__main__":
    main()
