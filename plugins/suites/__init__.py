"""Built-in suites: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from typing import Literal

from fobench.api.components import Suite
from fobench.api.hookspecs import Factories


def controls(
    count: int = 12,
    families: str = "question,interruption,backchannel,noise",
    text: str | None = None,
    answer: str | None = None,
) -> Suite:
    """Exactly timed users made of tones, for the scripted systems. `families`: names parted by commas, taken in turn."""
    from fobench_plugins.suites.controls import ControlsSuite

    return ControlsSuite(count, families, text, answer)


def duplex(
    families: str | None = None,
    count: int = 20,
    controls: bool = True,
    sound: Literal["speech", "tones"] = "speech",
    voice: str = "kokoro",
    speakers: str | None = None,
) -> Suite:
    """Interruptions, backchannels, pauses, noises: 13 families of `count` scenarios, each with its paired control. `families`:
    only these, parted by commas. `sound`: tones of known length instead of speech, for the scripted systems. Another `voice`
    or `speakers` of it (parted by commas) are spoken at first use and kept.
    """
    from fobench_plugins.suites.duplex.suite import DuplexSuite

    return DuplexSuite(families, count, controls, sound, voice, speakers)


def manifest(path: str, skip_bad: bool = False, shuffle: bool = False) -> Suite:
    """Own recordings and scenarios: a JSON-lines manifest, a scenario file (TOML), a folder of audio files. `skip_bad`: leave
    out what is broken.
    """
    from fobench_plugins.suites.manifest import ManifestSuite

    return ManifestSuite(path, skip_bad, shuffle)


def spoken_qa(voice: str = "kokoro", speakers: str | None = None, questions: str | None = None) -> Suite:
    """240 short questions on twelve subjects, spoken. Another `voice`, `speakers` of it (parted by commas) or own `questions`
    (JSON lines of {question, answers, id?, subject?, level?}) are spoken at first use and kept.
    """
    from pathlib import Path

    from fobench_plugins.suites.spoken_qa.suite import SpokenQASuite

    return SpokenQASuite(voice, speakers, Path(questions).expanduser() if questions else None)


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
    """Spoken questions from the model hub: a set by its short name, or OWNER/REPOSITORY. `path`: a local copy of its files;
    `audio`, `question`, `answer`: names of columns, where they are not the usual ones.
    """
    from pathlib import Path

    from fobench_plugins.suites.hub import HubSuite, source

    where = source(name, subset=subset, split=split, revision=revision)
    columns = {"audio": audio, "question": question, "answer": answer}
    return HubSuite(name, where, Path(path).expanduser() if path else None, columns)


def full_duplex_bench(path: str) -> Suite:
    """The user audio of Full-Duplex-Bench (v1, v1.5) in a folder of its layout; its users do not react."""
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
