"""Built-in suites: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from typing import Literal

from fobench.api.components import Suite
from fobench.api.hookspecs import Factories
from fobench.api.option_ranges import Scenarios


def controls(
    count: Scenarios = 12,
    families: str = "question,interruption,backchannel,noise",
    text: str | None = None,
    answer: str | None = None,
) -> Suite:
    """Synthetic users made of tones with exactly known timing, to verify metrics on the scripted systems.

    `count`: number of scenarios. `families`: scenario categories, separated by commas, taken in turn. `text`, `answer`:
    reference text and accepted answer given to the questions, whose audio stays a tone.
    """
    from fobench_plugins.suites.controls import ControlsSuite

    return ControlsSuite(count, families, text, answer)


def duplex(
    families: str | None = None,
    count: Scenarios = 20,
    controls: bool = True,
    sound: Literal["speech", "tones"] = "speech",
    voice: str = "kokoro",
    speakers: str | None = None,
    condition: str | None = None,
) -> Suite:
    """Full-duplex scenarios in 13 categories (interruptions, backchannels, pauses, noise, ...), each with a paired
    control. Version 2: the users are ten American and British speakers.

    `families`: the categories to use, separated by commas; all by default. `count`: scenarios per category. `controls`:
    include the paired controls. `sound`: "speech", or "tones" of known length for the scripted systems. `voice`,
    `speakers`: a TTS voice and its speakers, separated by commas; lines that are not shipped are synthesized at first
    use and cached. `condition`: as of `spoken-qa`.
    """
    from fobench_plugins.suites.duplex.suite import DuplexSuite

    return DuplexSuite(families, count, controls, sound, voice, speakers, condition)


def manifest(path: str, skip_bad: bool = False, shuffle: bool = False) -> Suite:
    """The user's own recordings and scenarios: a JSON Lines manifest, a scenario file (TOML), or a folder of audio
    files.

    A line of a manifest: {"audio": "a.wav", "text": "Which city?", "answers": ["Paris"]}; with "choices", an answer is the
    label (A, B, ...) or the text of one. A recording is WAV, FLAC, OGG, MP3, AIFF or AU, of at most 600 s, 64 channels and
    4 to 768 kHz. One that is cut is an error, and so is one in which nothing can be heard, unless the role of its turn is
    "noise" or "background". `skip_bad`: skip and list invalid entries instead of raising an error. `shuffle`: a random
    order drawn from the seed.
    """
    from fobench_plugins.suites.manifest import ManifestSuite

    return ManifestSuite(path, skip_bad, shuffle)


def spoken_qa(
    voice: str = "kokoro", speakers: str | None = None, questions: str | None = None, condition: str | None = None
) -> Suite:
    """240 short spoken questions on twelve subjects, with accepted answers. Version 2: ten American and British speakers ask,
    chosen by accent and gender and heard by no training.

    `condition`: how the questions are heard: clean, accent-ja (other speakers, with a Japanese accent), telephone (8 kHz
    mu-law, 300 to 3400 Hz), noise-10db (pink noise), far (a reverberant room), fast (1.4 times), quiet (24 dB softer).
    Several, separated by commas, ask each question under each of them; with clean among them, a report has their paired
    differences. `voice`, `speakers`: a TTS voice and its speakers, separated by commas. `questions`: another file of questions, JSON
    Lines of {question, answers, id?, subject?, level?}. Questions that are not shipped are synthesized at first use and
    cached.
    """
    from pathlib import Path

    from fobench_plugins.suites.spoken_qa.suite import SpokenQASuite

    return SpokenQASuite(voice, speakers, Path(questions).expanduser() if questions else None, condition)


def hub(
    name: str,
    path: str | None = None,
    subset: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    audio: str | None = None,
    question: str | None = None,
    answer: str | None = None,
) -> Suite:
    """Spoken question sets of the Hugging Face hub, by a short name or OWNER/REPOSITORY; or a local copy, by its path.

    `path`: a local copy of the data set's parquet files (folder or file), under the name given. `subset`, `split`, `revision`: as in `datasets.load_dataset`. `audio`,
    `question`, `answer`: names of the columns, where they differ from the usual ones.
    """
    from fobench_plugins.suites.hub import HubSuite, locate

    name, where, copy = locate(name, path, subset=subset, split=split, revision=revision)
    return HubSuite(name, where, copy, {"audio": audio, "question": question, "answer": answer})


def full_duplex_bench(path: str) -> Suite:
    """User audio of Full-Duplex-Bench v1 and v1.5 (arXiv 2503.04721, 2507.23159), from a folder in its layout.

    The recorded users do not react to the system.
    """
    from fobench_plugins.suites.full_duplex_bench import FullDuplexBenchSuite

    return FullDuplexBenchSuite(path)


FACTORIES: Factories = {
    "spoken-qa": spoken_qa,
    "controls": controls,
    "duplex": duplex,
    "manifest:": manifest,
    "full-duplex-bench:": full_duplex_bench,
    "hub:": hub,
}
