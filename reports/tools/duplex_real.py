"""Makes scenarios of real recordings: python reports/tools/duplex_real.py DATA OUT

DATA is the folder with mfa_disfluency (turns with hesitations), ami_excerpts_pyannote (short single words of a meeting, said over a
reply, and its speech as background) and noise_misc (over a reply); OUT gets manifest.jsonl and the cuts. The requests that are
replied to are the suite's own. Run them: fobench run --suite manifest:OUT
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
    ("Please tell me a story about a dog.", "jf_alpha"),
    ("Tell me all about the history of Paris.", "jf_gongitsune"),
    ("Explain how rain is made, step by step.", "jf_nezumi"),
    ("Tell me about your favourite animal.", "jf_tebukuro"),
    ("Describe a day at the beach for me.", "jm_kumo"),
]


def rows(folder):
    return [json.loads(line) for line in (DATA / folder / "manifest.jsonl").read_text().splitlines()]


def level(wave, dbfs):
    return np.clip(wave * 10 ** (dbfs / 20) / max(1e-6, float(np.sqrt(np.mean(wave**2)))), -1, 1)


def cut(path, start, seconds, dbfs, name):
    wave = audio.load(path, RATE).samples[int(start * RATE) : int((start + seconds) * RATE)]
    soundfile.write(OUT / "audio" / f"{name}.flac", level(wave, dbfs), RATE)
    return f"audio/{name}.flac"


def over(name, role, clip, delay, index):
    say, speaker = REQUESTS[index % len(REQUESTS)]
    anchor = {"event": "reply_audible", "delay_s": delay}
    return {
        "id": name,
        "family": role,
        "patience_s": 20,
        "turns": [{"say": say, "speaker": speaker}, {"audio": clip, "role": role, "anchor": anchor}],
    }


def segments():
    found = {}
    for rttm in (DATA / "ami_excerpts_pyannote").glob("*.rttm"):
        for line in rttm.read_text().splitlines():
            _, uri, _, start, length, *_ = line.split()
            found.setdefault(uri, set()).add((float(start), float(length)))
    return {uri: sorted(own) for uri, own in found.items()}


def alone(own, start, length):
    return not any(s < start + length + 0.1 and s + d > start - 0.1 for s, d in own if (s, d) != (start, length))


def main():
    (OUT / "audio").mkdir(exist_ok=True, parents=True)
    lines = []
    for row in rows("mfa_disfluency"):  # a turn with hesitations inside is one turn
        if row["id"].startswith("mfa_") and 4 <= row["dur"] <= 14:
            clip = str(DATA / "mfa_disfluency" / row["audio"])
            lines.append(
                {"id": row["id"], "family": "hesitation", "audio": clip, "text": row["text"], "speaker": "mfa"}
            )
    ami = {row["rttm_uri"]: DATA / "ami_excerpts_pyannote" / row["audio"] for row in rows("ami_excerpts_pyannote")}
    short = [(u, s, d) for u, own in segments().items() if u in ami for s, d in own if d <= 0.8 and alone(own, s, d)]
    for i, (uri, start, length) in enumerate(short):
        clip = cut(ami[uri], start - 0.05, length + 0.1, -22, f"backchannel-{uri}-{start:.2f}")
        lines.append(over(f"ami-backchannel-{i + 1:02d}", "backchannel", clip, 0.8 + 0.1 * (i % 10), i))
    for i, (uri, path) in enumerate(sorted(ami.items())):
        start = max((s for s, d in segments().get(uri, ()) if s <= 26), default=0.0)
        clip = cut(path, start, 3.5, -32, f"background-{uri}")
        lines.append(over(f"ami-background-{i + 1:02d}", "background", clip, 1.0 + 0.1 * (i % 10), i))
    for i, row in enumerate(rows("noise_misc")):
        clip = cut(DATA / "noise_misc" / row["audio"], 0, min(3.0, row["dur"]), -26, f"noise-{row['id'][:40]}")
        lines.append(over(f"noise-{row['id'][:40]}", "noise", clip, 0.8 + 0.1 * (i % 10), i))
    (OUT / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(len(lines), "scenarios")


if __name__ == "__main__":
    main()
