"""Smoke test of training: all six stages on a tiny model in a few minutes, from texts to a checkpoint that replies with
speech.

    python -m reference_model.train.release.smoke_test --out runs/tiny

The Piper voice renders eight questions, and a tiny LLM is trained on their answers (`tiny_llm`). Each stage must lower
its loss by a given factor; the LLM must transcribe the eight questions with a WER of 0; the reference ASR must
recognize the eight synthesized answers with a WER of 0; and the assembled checkpoint must reply to a spoken question in
a benchmark run. The model overfits on purpose: training and test data are the same. The exit code is 1 if any of this
fails.
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
BACKCHANNELS = ("Okay.", "All right.")
LLM_STEPS = 500
LOOP = ("--set=precision=no", "--set=workers=0", "--set=validate_every=1000", "--set=warmup=10", "--set=spike=1e9")
INPUT_HZ = 16_000
END_STEPS = 10  # the mean loss of so many steps at either end is compared


@dataclass(frozen=True, slots=True)
class SmokeStage:
    """A stage with its options; its loss must fall by `factor`."""

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
        ["--latents={latents}", "--set=steps=450", "--set=lr=2e-3"],
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
        "output-3, hidden states",
        "output-3",
        "output-3",
        1.05,  # the texts leave little to the hidden states
        [
            *("--replies={replies}", "--codec={out}/output-1", "--speech={out}/output-2", "--backbone={llm}"),
            *("--silent", "--noise=0", "--set=steps=200", "--set=lr=1e-2"),
        ],
    ),
)


@dataclass(frozen=True, slots=True)
class StageResult:
    """Mean loss of a stage over its first and last steps, with the required factor."""

    label: str
    steps: int
    first_loss: float
    last_loss: float
    required_factor: float
    seconds: float

    @property
    def factor(self) -> float:
        return self.first_loss / self.last_loss

    @property
    def passed(self) -> bool:
        return self.factor >= self.required_factor


@dataclass(frozen=True, slots=True)
class SmokePaths:
    """Files and folders of the smoke test."""

    out: Path

    @property
    def by_name(self) -> dict[str, str]:
        """The paths by the names in the stages' options."""
        names = ("questions", "answers", "turns")
        paths = {name: str(self.out / "data" / name / "manifest.jsonl") for name in names}
        paths |= {"latents": str(self.out / "data" / "latents"), "replies": str(self.out / "data" / "replies.jsonl")}
        return paths | {"out": str(self.out), "llm": f"hf:{self.out / 'llm'}"}

    def create_data(self) -> None:
        """Writes manifests with audio, latents, and replies."""
        speaker = piper_latents.LatentSpeaker(1, silent=False, noise=0.0)
        speech = {
            text: one
            for text in [*ANSWERS, *ANSWERS.values(), *BACKCHANNELS]
            if (one := speaker.synthesize(text)) is not None
        }
        questions = [(text, speech[text], "question", "train") for text in ANSWERS]
        backchannels = [(text, speech[text], "backchannel", "train") for text in BACKCHANNELS]
        turns = [(*row[:3], split) for row in (*questions, *backchannels) for split in ("train", "valid")]
        self._manifest("questions", questions)
        self._manifest("turns", turns)
        self._manifest("answers", [(text, speech[text], "statement", "train") for text in ANSWERS.values()])
        folder = self.out / "data" / "latents"
        folder.mkdir(parents=True, exist_ok=True)
        answers = [speech[text] for text in ANSWERS.values()]
        piper_latents.write(
            folder / "pairs-0000.safetensors", [speech[BACKCHANNELS[0]], *answers]
        )  # the first is held out
        lines = [{"question": question, "reply": reply} for question, reply in ANSWERS.items()]
        numbered = [
            {"id": str(number), **line} for number, line in enumerate([*lines, lines[0]])
        ]  # the last is held out
        (self.out / "data" / "replies.jsonl").write_text("".join(json.dumps(line) + "\n" for line in numbered))

    def _manifest(self, name: str, rows: Sequence[tuple[str, piper_latents.VoicedText, str, str]]) -> None:
        folder = self.out / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for number, (text, voiced, kind, split) in enumerate(rows):
            assert voiced.audio is not None
            sound = resample(AudioChunk(voiced.audio.numpy().astype(np.float32) / np.float32(32767), 22_050), INPUT_HZ)
            soundfile.write(folder / f"{number}.wav", sound.samples, INPUT_HZ)
            row = {"audio": f"{number}.wav", "text": text, "id": f"{name}-{number}", "kind": kind, "split": split}
            lines.append(json.dumps(row) + "\n")
        (folder / "manifest.jsonl").write_text("".join(lines))


def train(stage: SmokeStage, paths: SmokePaths) -> StageResult:
    """Runs a stage by its own command."""
    command = registry.create("trainers", stage.name)
    config = [] if any(option.startswith("--config") for option in stage.options) else [f"--config={CONFIG}"]
    folder = paths.out / stage.folder
    args = [*config, f"--out={folder}", *LOOP, *(option.format(**paths.by_name) for option in stage.options)]
    started = time.perf_counter()
    with command.make_context(stage.name, args) as context:
        command.invoke(context)
    losses = [value for _, value in training_log.read(folder)["loss"]]
    first_loss, last_loss = float(np.mean(losses[:END_STEPS])), float(np.mean(losses[-END_STEPS:]))
    return StageResult(stage.label, len(losses), first_loss, last_loss, stage.factor, time.perf_counter() - started)


# ---- checks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SmokeCheck:
    """The result of a check of the trained model; `detail` describes it."""

    label: str
    passed: bool
    detail: str


def check_asr(paths: SmokePaths) -> SmokeCheck:
    """Checks the WER of the LLM's transcripts of the questions."""
    rates = training_log.read(paths.out / "input-2")["valid_wer_questions"]
    return SmokeCheck("ASR of questions", rates[-1][1] == 0.0, f"WER {rates[-1][1]:.1%} of {len(ANSWERS)}, by the LLM")


def check_tts(paths: SmokePaths) -> SmokeCheck:
    """Checks the WER of the synthesized answers by the reference ASR."""
    config = ModelConfig.load(CONFIG)
    codec, decoder = load_codec(paths.out / "output-1"), load_decoder(paths.out / "output-3").eval()
    frozen = FrozenLLM.load(paths.by_name["llm"], "cpu")
    lines = [SynthesisLine(reply, question) for question, reply in ANSWERS.items()]
    parts = batch_synthesis.make_parts(decoder, frozen, config, lines, use_hidden=True)
    recognizer = registry.create("recognizers", "faster-whisper", {})
    result = intelligibility_eval.evaluate(
        "spoken",
        lines,
        parts,
        lambda: intelligibility_eval.synthesize_parts(decoder, codec, parts, config.settings.speech),
        codec.sample_rate_hz,
        recognizer,
    )
    differing = [
        f"{line.text!r} as {transcript!r}"
        for line, transcript in zip(lines, result.heard, strict=True)
        if line.text != transcript
    ]
    details = f"; not identical: {', '.join(differing)}" if differing else ""
    return SmokeCheck(
        "TTS of answers", result.wer == 0.0, f"WER {result.wer:.1%} of {len(ANSWERS)}, by Whisper tiny.en{details}"
    )


def check_reply(paths: SmokePaths) -> SmokeCheck:
    """Checks that the assembled checkpoint replies to a spoken question; whether correctly is reported, but not
    required.
    """
    out, checkpoint = paths.out, paths.out / "tiny.safetensors"
    parts = {"input": "input-2", "states": "input-3", "codec": "output-1", "speech": "output-3"}
    run_command(
        "assemble", f"--config={CONFIG}", f"--out={checkpoint}", *(f"--{k}={out / v}" for k, v in parts.items())
    )
    shutil.rmtree(out / "run", ignore_errors=True)
    args = [
        "run",
        f"--checkpoint={checkpoint}",
        f"--backbone={paths.by_name['llm']}",
        "--device=cpu",
        "--dtype=float32",
    ]
    args += [
        f"--suite=manifest:{paths.by_name['questions']}",
        "--limit=1",
        "--judge=faster-whisper",
        f"--output={out / 'run'}",
    ]
    subprocess.run([sys.executable, "-m", "fobench", *args], stdout=subprocess.DEVNULL, check=False)
    (trace,) = RunFolder(out / "run").traces()
    reply, transcript = trace.answer, trace.judge.get("reply")
    if trace.failure or reply is None or not reply.text.strip() or transcript is None:
        return SmokeCheck("reply in a run", False, str(trace.failure or "no reply"))
    (question,) = [turn.text for turn in trace.scenario.turns]
    agreement = "as trained" if reply.text.strip() == ANSWERS[question or ""] else "not as trained"
    return SmokeCheck(
        "reply in a run", True, f"{question!r}: {reply.text.strip()!r}, {agreement}; reference ASR: {transcript!r}"
    )


def run_command(name: str, *args: str) -> None:
    """Runs a command of `fobench train` in this process."""
    command = registry.create("trainers", name)
    with command.make_context(name, list(args)) as context:
        command.invoke(context)


CHECKS: Sequence[Callable[[SmokePaths], SmokeCheck]] = (check_asr, check_tts, check_reply)


def report(rows: Sequence[StageResult], checks: Sequence[SmokeCheck], seconds: float) -> str:
    """Returns the table of stages and the results of the checks."""
    lines = [f"{'stage':28} {'steps':>5} {'first loss':>11} {'last':>9} {'factor':>8} {'required':>8} {'seconds':>8}"]
    for row in rows:
        losses = f"{row.first_loss:11.4f} {row.last_loss:9.4f}"
        values = f"{row.steps:5} {losses} {row.factor:8.1f} {row.required_factor:8.2f} {row.seconds:8.1f}"
        lines.append(f"{row.label:28} {values}{'' if row.passed else '  FAILED'}")
    lines += [f"{check.label:28} {'passed' if check.passed else 'FAILED'}: {check.detail}" for check in checks]
    return "\n".join([*lines, f"total {seconds:.0f} s"])


@click.command(cls=StageCommand, help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the test; an existing one is replaced.",
)
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True)
def main(out: Path, threads: int) -> None:
    if out.exists() and not (out / "data" / "turns").is_dir():
        raise FobenchError(f"{out} exists and was not created by this command: choose another --out.")
    shutil.rmtree(out, ignore_errors=True)
    torch.set_num_threads(threads)
    started = time.perf_counter()
    paths = SmokePaths(out)
    paths.create_data()
    loss = tiny_llm.train_tiny_llm(out / "llm", ANSWERS, PROMPT, INSTRUCTION, LLM_STEPS)
    click.echo(f"data and a tiny LLM (loss {loss:.4f}): {time.perf_counter() - started:.0f} s", err=True)
    rows = [train(stage, paths) for stage in STAGES]
    checks = [check(paths) for check in CHECKS]
    click.echo(report(rows, checks, time.perf_counter() - started))
    if not (all(row.passed for row in rows) and all(one.passed for one in checks)):
        sys.exit(1)


if __name__ == "__main__":
    main()
