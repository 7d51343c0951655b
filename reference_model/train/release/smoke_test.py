"""All six stages on a tiny model in a few minutes: does the trainer learn, from texts to a checkpoint that answers aloud?

    python -m reference_model.train.release.smoke_test --out runs/tiny

Eight questions are spoken by the Piper voice, and a tiny LLM is taught their answers (`tiny_llm`). Each stage must lower its loss by
a stated factor; the trained listener must have the LLM write down the eight questions, and a recogniser must understand the eight
answers as the trained speaker says them, all without a wrong word; and the assembled checkpoint must answer a spoken question in the
runner. It overfits on purpose: what it is judged by is what it learnt from. Exit code 1 where anything of this fails.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import soundfile
import torch

from fobench.api import registry
from fobench.api.types import AudioChunk
from fobench.audio import resample
from fobench.errors import FobenchError
from fobench.storage.run_folder import RunFolder
from reference_model.config import PROMPT, ModelConfig
from reference_model.train.engine import training_log
from reference_model.train.engine.command import StageCommand
from reference_model.train.llm import tiny_llm
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_input.llm_transcription import INSTRUCTION
from reference_model.train.speech_output import batch_synthesis, intelligibility_eval
from reference_model.train.speech_output.batch_synthesis import SynthesisLine
from reference_model.train.speech_output.stage_checkpoints import load_codec, load_decoder
from reference_model.train.synthesis import piper_latents

CONFIG = "tiny-speaking"
ANSWERS = {
    "What color is the sky?": "The sky is blue.",
    "How many legs does a spider have?": "Spiders have eight legs.",
    "Who wrote Romeo and Juliet?": "It was written by William Shakespeare.",
    "What is the capital of France?": "Paris is the capital of France.",
    "How many days are in a week?": "There are seven days in a week.",
    "What do cows give us?": "Cows give us milk every day.",
    "Which season is the coldest?": "Winter is the coldest season.",
    "When do we eat breakfast?": "We eat breakfast in the morning.",
}
MURMURS = ("Okay.", "All right.")  # backchannels
LLM_STEPS = 500
LOOP = ("--set=precision=no", "--set=workers=0", "--set=validate_every=1000", "--set=warmup=10", "--set=spike=1e9")
HEAR_HZ = 16_000
ENDS = 10  # steps whose mean loss is the first, and the last


@dataclass(frozen=True, slots=True)
class SmokeStage:
    """A stage as it is run here; its loss must fall by `factor`."""

    label: str
    name: str
    folder: str
    factor: float
    options: Sequence[str]


STAGES = (
    SmokeStage(
        "input-1, by CTC",
        "input-1",
        "input-1",
        5.0,
        ["--data={questions}", "--plain", "--valid={questions}", "--set=steps=300", "--set=lr=3e-3"],
    ),
    SmokeStage(
        "input-2, through the LLM",
        "input-2",
        "input-2",
        5.0,
        [
            *("--init={out}/input-1", "--data={questions}", "--plain", "--valid={questions}", "--backbone={llm}"),
            *("--set=steps=120", "--set=lr=2e-3"),
        ],
    ),
    SmokeStage(
        "input-3, prompts and states",
        "input-3",
        "input-3",
        1.3,
        [
            *("--init={out}/input-2", "--data={turns}", "--replies={replies}", "--backbone={llm}", "--vad=loudness"),
            *("--count=64", "--set=steps=100", "--set=lr=1e-2", "--set=batch_most=8"),
        ],
    ),
    SmokeStage(
        "output-1, from recordings",
        "output-1",
        "output-1-recordings",
        1.4,
        [
            "--config=tiny",
            "--data={answers}",
            "--adversarial",
            "--width=4",
            "--frames=32",
            "--set=steps=40",
            "--set=lr=2e-3",
        ],
    ),
    SmokeStage(
        "output-1, from latents",
        "output-1",
        "output-1",
        3.0,
        ["--latents={latents}", "--set=steps=300", "--set=lr=2e-3"],
    ),
    SmokeStage(
        "output-2, text to codes",
        "output-2",
        "output-2",
        20.0,
        [
            *("--latents={latents}", "--codec={out}/output-1", "--backbone={llm}", "--join=0"),
            *("--set=steps=90", "--set=lr=3e-3"),
        ],
    ),
    SmokeStage(
        "output-3, with thoughts",
        "output-3",
        "output-3",
        1.05,  # the texts leave little to the thoughts
        [
            *("--replies={replies}", "--codec={out}/output-1", "--speech={out}/output-2", "--backbone={llm}"),
            *("--silent", "--noise=0", "--set=steps=200", "--set=lr=1e-2"),
        ],
    ),
)


@dataclass(frozen=True, slots=True)
class StageResult:
    """What became of a stage."""

    label: str
    steps: int
    first: float
    last: float
    wanted: float
    seconds: float

    @property
    def factor(self) -> float:
        return self.first / self.last

    @property
    def fine(self) -> bool:
        return self.factor >= self.wanted


@dataclass(frozen=True, slots=True)
class SmokePaths:
    """Where everything lies, by the names that the stages' options have for it."""

    out: Path

    @property
    def places(self) -> dict[str, str]:
        names = ("questions", "answers", "turns")
        found = {name: str(self.out / "data" / name / "manifest.jsonl") for name in names}
        found |= {"latents": str(self.out / "data" / "latents"), "replies": str(self.out / "data" / "replies.jsonl")}
        return found | {"out": str(self.out), "llm": f"hf:{self.out / 'llm'}"}

    def make(self) -> None:
        """Texts, speech, latents, and the LLM."""
        speaker = piper_latents.LatentSpeaker(1, silent=False, noise=0.0)
        said = {text: one for text in [*ANSWERS, *ANSWERS.values(), *MURMURS] if (one := speaker.say(text)) is not None}
        questions = [(text, said[text], "question", "train") for text in ANSWERS]
        murmurs = [(text, said[text], "backchannel", "train") for text in MURMURS]
        turns = [(*row[:3], split) for row in (*questions, *murmurs) for split in ("train", "valid")]
        self._manifest("questions", questions)
        self._manifest("turns", turns)
        self._manifest("answers", [(text, said[text], "statement", "train") for text in ANSWERS.values()])
        folder = self.out / "data" / "latents"
        folder.mkdir(parents=True, exist_ok=True)
        known = [said[text] for text in ANSWERS.values()]
        piper_latents.write(folder / "pairs-0000.safetensors", [said[MURMURS[0]], *known])  # the first is kept aside
        lines = [{"question": question, "reply": reply} for question, reply in ANSWERS.items()]
        numbered = [
            {"id": str(number), **line} for number, line in enumerate([*lines, lines[0]])
        ]  # the last is kept aside
        (self.out / "data" / "replies.jsonl").write_text("".join(json.dumps(line) + "\n" for line in numbered))

    def _manifest(self, name: str, rows: Sequence[tuple[str, piper_latents.VoicedText, str, str]]) -> None:
        folder = self.out / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for number, (text, spoken, kind, split) in enumerate(rows):
            assert spoken.audio is not None
            sound = resample(AudioChunk(spoken.audio.numpy().astype(np.float32) / 32767, 22_050), HEAR_HZ)
            soundfile.write(folder / f"{number}.wav", sound.samples, HEAR_HZ)
            row = {"audio": f"{number}.wav", "text": text, "id": f"{name}-{number}", "kind": kind, "split": split}
            lines.append(json.dumps(row) + "\n")
        (folder / "manifest.jsonl").write_text("".join(lines))


def train(stage: SmokeStage, material: SmokePaths) -> StageResult:
    """Runs a stage by its own command."""
    command = registry.create("trainers", stage.name)
    config = [] if any(option.startswith("--config") for option in stage.options) else [f"--config={CONFIG}"]
    folder = material.out / stage.folder
    args = [*config, f"--out={folder}", *LOOP, *(option.format(**material.places) for option in stage.options)]
    started = time.perf_counter()
    with command.make_context(stage.name, args) as context:
        command.invoke(context)
    losses = [value for _, value in training_log.read(folder)["loss"]]
    first, last = float(np.mean(losses[:ENDS])), float(np.mean(losses[-ENDS:]))
    return StageResult(stage.label, len(losses), first, last, stage.factor, time.perf_counter() - started)


# ---- what must have been learnt ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SmokeCheck:
    """Something that must hold of the whole; `found` says what was found."""

    label: str
    fine: bool
    found: str


def listening(material: SmokePaths) -> SmokeCheck:
    """The LLM writes down what the trained listener hears."""
    rates = training_log.read(material.out / "input-2")["valid_wer_questions"]
    return SmokeCheck("questions heard", rates[-1][1] == 0.0, f"WER {rates[-1][1]:.1%} of {len(ANSWERS)}, by the LLM")


def speaking(material: SmokePaths) -> SmokeCheck:
    """A recogniser understands what the trained speaker says."""
    config = ModelConfig.load(CONFIG)
    codec, decoder = load_codec(material.out / "output-1"), load_decoder(material.out / "output-3").eval()
    frozen = FrozenLLM.load(material.places["llm"], "cpu")
    lines = [SynthesisLine(reply, question) for question, reply in ANSWERS.items()]
    parts = batch_synthesis.parts(decoder, frozen, config, lines, thinking=True)
    judge = registry.create("recognizers", "faster-whisper", {})
    result = intelligibility_eval.judged(
        "spoken",
        lines,
        parts,
        lambda: intelligibility_eval.spoken(decoder, codec, parts, config.settings.speech),
        codec.sample_rate_hz,
        judge,
    )
    wrong = [
        f"{line.text!r} as {heard!r}" for line, heard in zip(lines, result.heard, strict=True) if line.text != heard
    ]
    told = f"; not to the letter: {', '.join(wrong)}" if wrong else ""
    return SmokeCheck(
        "answers said", result.wer == 0.0, f"WER {result.wer:.1%} of {len(ANSWERS)}, by Whisper tiny.en{told}"
    )


def answering(material: SmokePaths) -> SmokeCheck:
    """The assembled checkpoint answers a spoken question in the runner; whether rightly is told, and not required."""
    out, checkpoint = material.out, material.out / "tiny.safetensors"
    parts = {"input": "input-2", "states": "input-3", "codec": "output-1", "speech": "output-3"}
    run_command(
        "assemble", f"--config={CONFIG}", f"--out={checkpoint}", *(f"--{k}={out / v}" for k, v in parts.items())
    )
    shutil.rmtree(out / "run", ignore_errors=True)
    args = [
        "run",
        f"--checkpoint={checkpoint}",
        f"--backbone={material.places['llm']}",
        "--device=cpu",
        "--dtype=float32",
    ]
    args += [
        f"--suite=manifest:{material.places['questions']}",
        "--limit=1",
        "--judge=faster-whisper",
        f"--output={out / 'run'}",
    ]
    subprocess.run([sys.executable, "-m", "fobench", *args], stdout=subprocess.DEVNULL, check=False)
    (trace,) = RunFolder(out / "run").traces()
    reply, heard = trace.answer, trace.judge.get("reply")
    if trace.failure or reply is None or not reply.text.strip() or heard is None:
        return SmokeCheck("answers live", False, str(trace.failure or "no reply"))
    (asked,) = [turn.text for turn in trace.scenario.turns]
    right = "as it was taught" if reply.text.strip() == ANSWERS[asked or ""] else "not as it was taught"
    return SmokeCheck("answers live", True, f"{asked!r}: {reply.text.strip()!r}, {right}; a recogniser hears {heard!r}")


def run_command(name: str, *args: str) -> None:
    command = registry.create("trainers", name)
    with command.make_context(name, list(args)) as context:
        command.invoke(context)


CHECKS: Sequence[Callable[[SmokePaths], SmokeCheck]] = (listening, speaking, answering)


def report(rows: Sequence[StageResult], checks: Sequence[SmokeCheck], seconds: float) -> str:
    """The tables."""
    lines = [f"{'stage':28} {'steps':>5} {'loss first':>11} {'last':>9} {'factor':>8} {'wanted':>7} {'seconds':>8}"]
    for row in rows:
        figures = (
            f"{row.steps:5} {row.first:11.4f} {row.last:9.4f} {row.factor:8.1f} {row.wanted:7.2f} {row.seconds:8.1f}"
        )
        lines.append(f"{row.label:28} {figures}{'' if row.fine else '  TOO LITTLE'}")
    lines += [f"{check.label:28} {'fine' if check.fine else 'FAILED'}: {check.found}" for check in checks]
    return "\n".join([*lines, f"in all {seconds:.0f} s"])


@click.command(cls=StageCommand, help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Made anew each time.")
@click.option("--threads", default=1, show_default=True)
def main(out: Path, threads: int) -> None:
    if out.exists() and not (out / "data" / "turns").is_dir():
        raise FobenchError(f"{out} is there, and was not made by this: choose another --out.")
    shutil.rmtree(out, ignore_errors=True)
    torch.set_num_threads(threads)
    started = time.perf_counter()
    material = SmokePaths(out)
    material.make()
    loss = tiny_llm.make(out / "llm", ANSWERS, PROMPT, INSTRUCTION, LLM_STEPS)
    click.echo(f"data and a tiny LLM (loss {loss:.4f}): {time.perf_counter() - started:.0f} s", err=True)
    rows = [train(stage, material) for stage in STAGES]
    checks = [check(material) for check in CHECKS]
    click.echo(report(rows, checks, time.perf_counter() - started))
    if not all(one.fine for one in (*rows, *checks)):
        sys.exit(1)


if __name__ == "__main__":
    main()
