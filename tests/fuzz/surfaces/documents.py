"""Manifests, scenario files, cost tables, baselines, asset tables, configurations, questions and trainer manifests."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from fobench.errors import FobenchError
from tests.fuzz.case import Case, Expected, Nonsense, Surface
from tests.fuzz.mutations import ODD_NUMBERS, ODD_TEXTS, ODD_VALUES, encoded, mutate_json, noisy, odd_text

COSTS = {
    "version": 1,
    "costs": {"idle": {"fixed_ns": 1000, "per_media_s_ns": 0}, "audio": {"fixed_ns": 0, "per_media_s_ns": 5}},
}
BASELINE = {
    "version": 1,
    "run": {"version": 1, "status": "complete", "config": {"system": "cascade", "seed": 0}, "costs": "measured"},
    "items": [{"id": "a", "group": "a", "asked": "", "texts": {"asked": "Who?"}}, {"id": "b", "group": "b", "asked": "", "texts": {}}],
    "columns": {
        "accuracy_s2s": {
            "version": 1, "unit": "share", "better": "higher", "spread": False,
            "items": [0, 1], "tops": [1.0, 0.0], "bottoms": [1.0, 1.0],
        }
    },
    "saved": {"commit": {}, "at": "2026-01-01T00:00:00+00:00"},
}  # fmt: skip
ENTRY = {
    "audio": "a.wav",
    "id": "one",
    "text": "Who is it?",
    "answers": ["Anna"],
    "role": "question",
    "patience_s": 5.0,
}
WRONG_ENTRY: tuple[dict[str, Any], ...] = (
    {"audio": "missing.wav"}, {"audio": 3}, {"audio": None}, {"audio": ["a.wav"]}, {"noise": "pink"}, {"role": "boss"},
    {"text": 7}, {"text": ["a"]}, {"patience_s": 0}, {"patience_s": -1}, {"patience_s": "x"}, {"patience_s": True},
    {"patience_s": 1e300}, {"patience_s": 1e12}, {"start_s": 1e300}, {"start_s": -5}, {"end_s": 9.0}, {"end_s": 1e308},
    {"level_db": 1e308}, {"snr_db": 1e300}, {"turns": []}, {"turns": [3]}, {"turns": [{}]}, {"turns": {}}, {"tags": []},
    {"anchor": {"event": "never"}}, {"anchor": {"event": "start", "delay_s": 1e300}}, {"anchor": {"delay_s": -1}}, {"anchor": []},
    {"text": "half \ud800"}, {"id": "half \udfff"},
)  # fmt: skip
SCENARIOS = """version = 1

[[scenario]]
id = "one"
answers = ["Anna"]

[[scenario.turns]]
noise = "pink"
length_s = 1.5
text = "Who is it?"

[[scenario.turns]]
noise = "hum"
length_s = 0.5
role = "backchannel"
anchor = { event = "reply_audible", delay_s = 0.5 }
"""
ASSETS = f"""[tiny]
what = "a tiny model"
licence = "MIT"
default = true

[[tiny.files]]
name = "model.bin"
size = 12
sha256 = "{"0" * 64}"
hub = {{ repo = "a/b", revision = "main", path = "model.bin" }}
wheel = [{{ distribution = "tiny", version = "1.0", path = "tiny/model.bin" }}]
"""
MODEL_BYTES = (Path(__file__).parents[3] / "reference_model/configs/tiny.toml").read_text()
QUESTION = {"question": "Who is it?", "answers": ["Anna"], "id": "one", "subject": "people", "level": "easy"}
CLIP = {"audio": "a.wav", "text": "who is it", "duration": 1.0, "offset": 0.0, "id": "one", "split": "train"}
WRONG_CLIP: tuple[dict[str, Any], ...] = (
    {"audio": "missing.wav"}, {"audio": 3}, {"text": ""}, {"text": "..."}, {"text": 5}, {"text": ["a"]}, {"duration": 0.0},
    {"duration": -1}, {"duration": "x"}, {"duration": 1e300}, {"offset": -1}, {"offset": 1e300}, {"offset": 7}, {"offset": "x"},
    {"duration": 5.0, "offset": 0.2},
)  # fmt: skip


def write_tone(path: Path, seconds: float = 1.0) -> None:
    """A square wave of 16 kHz, mono, 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((b"\x00\x20" * 20 + b"\x00\xe0" * 20) * round(400 * seconds))


def _file(folder: Path, name: str, content: bytes, read: Callable[[Path], Any], expected: Expected, about: str) -> Case:
    path = folder / name
    path.write_bytes(content)
    return Case(lambda: read(path), about, expected, {name: content})


def cost_table(rng: Random, folder: Path) -> Case:
    from fobench.simulation.costs import CostTable

    def read(path: Path) -> None:
        table = CostTable.load(path)
        for name in table.costs:
            if not 0 <= table.cost_ns(name, 10**9) < 10**14:
                raise Nonsense(f"{name} costs {table.cost_ns(name, 10**9)} ns")
        path.write_text(json.dumps(table.to_json()))
        if CostTable.load(path) != table:
            raise Nonsense("the table does not read back")

    if rng.random() < 0.2:
        step = rng.choice(list(COSTS["costs"]))  # type: ignore[call-overload]
        wrong = rng.choice((-1, -(2**40), 2**62, 10**15, 0.5, "1", None, True))
        data = {**COSTS, "costs": {**COSTS["costs"], step: {"fixed_ns": wrong, "per_media_s_ns": 0}}}  # type: ignore[dict-item]
        return _file(folder, "costs.json", encoded(data), read, "refused", f"{step} costs {wrong}")
    return _file(folder, "costs.json", *_with_reader(mutate_json(rng, COSTS), read))


def _with_reader(
    mutated: tuple[bytes, Expected, str], read: Callable[[Path], Any]
) -> tuple[bytes, Callable[[Path], Any], Expected, str]:
    content, expected, about = mutated
    return content, read, expected, about


def baseline(rng: Random, folder: Path) -> Case:
    from fobench.comparison import baseline_store
    from fobench.comparison.snapshot import Snapshot, with_unique_names

    def read(path: Path) -> None:
        from fobench.comparison import compare

        found = baseline_store.load(str(path))
        base = Snapshot.from_json("base", BASELINE)
        first, second = with_unique_names([base, found])
        with suppress(FobenchError):  # a baseline may have nothing in common with the other
            compare(first, second, (), allow_mismatch=True).dumps()

    free = ("saved", "config", "components")
    mutated = mutate_json(
        rng, BASELINE, lambda path: not set(free) & set(path) and path[:1] != ("saved",), closed=False
    )
    return _file(folder, "0001-a.json", *_with_reader(mutated, read))


def manifest(rng: Random, folder: Path) -> Case:
    from fobench_plugins.suites import manifest_parser
    from fobench_plugins.suites.scenario_builder import build_scenario

    write_tone(folder / "a.wav")
    kind = rng.randrange(4)
    if kind == 0:
        wrong = rng.choice(WRONG_ENTRY)
        content, expected, about = encoded({**ENTRY, **wrong}), "refused", f"{wrong}"
    elif kind == 1:
        key = rng.choice(
            [
                *ENTRY,
                "tags",
                "turns",
                "anchor",
                "start_s",
                "end_s",
                "level_db",
                "snr_db",
                "choices",
                "family",
                "speaker",
            ]
        )
        odd = rng.choice(ODD_VALUES)
        content, expected, about = encoded({**ENTRY, key: odd}), "either", f"{key} is {odd!r:.40}"
    else:
        content, expected, about = mutate_json(rng, ENTRY, lambda path: path[0] not in ("id", "answers"), closed=False)
        content = content.replace(b"\n", b" ")
    entries = [encoded({**ENTRY, "id": "zero"}), content]

    def read(path: Path) -> None:
        found = manifest_parser.read(str(path))
        for item in found.items[:3]:
            build_scenario(item, "fuzz", 0)
        if found.problems:
            raise FobenchError("; ".join(found.problems)[:2000])

    if about == "a byte-order mark":
        entries.reverse()
    return _file(folder, "manifest.jsonl", b"\n".join(entries) + b"\n", read, expected, about)  # type: ignore[arg-type]


def _mutate_toml(rng: Random, text: str, wrong: tuple[tuple[str, str], ...]) -> tuple[bytes, Expected, str]:
    """`wrong`: (what is replaced in the text, by what), each of which must be refused."""
    kind = rng.randrange(6)
    if kind <= 1:
        old, new = rng.choice(wrong)
        return text.replace(old, new, 1).encode("utf-8", "surrogatepass"), "refused", f"{old} -> {new:.60}"
    if kind == 2:
        depth = rng.choice((100, 1000, 50_000))
        return f"{text}\n[zz]\nzz = {'[' * depth}{']' * depth}\n".encode(), "refused", f"{depth} deep"
    if kind == 3:
        line = rng.choice([line for line in text.splitlines() if "=" in line])
        return text.replace(line, f"{line}\n{line}", 1).encode(), "refused", f"twice: {line}"
    if kind == 4:
        return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(), "accepted", "a byte-order mark, CRLF"
    return noisy(rng, text.encode()), "either", "noise"


def scenario_file(rng: Random, folder: Path) -> Case:
    from fobench_plugins.suites import manifest_parser

    def read(path: Path) -> None:
        found = manifest_parser.read(str(path))
        if found.problems:
            raise FobenchError("; ".join(found.problems)[:2000])

    numbers = ("nan", "inf", "-1", "0", "1e300", '"x"', "true", "[]", "1" + 30 * "0", "9" * 5000, "1979-05-27")
    wrong = (
        *(("length_s = 1.5", f"length_s = {number}") for number in numbers),
        *(("delay_s = 0.5", f"delay_s = {number}") for number in numbers if number != "0"),
        ("version = 1", "version = 2"), ("version = 1", ""), ('"pink"', '"purple"'), ("[[scenario]]", "[scenario]"),
        ('"one"', "[1]"), ('"backchannel"', '"boss"'), ("reply_audible", "reply_never"), ('"Who is it?"', "7"),
    )  # fmt: skip
    return _file(folder, "s.toml", *_with_reader(_mutate_toml(rng, SCENARIOS, wrong), read))


def asset_table(rng: Random, folder: Path) -> Case:
    from fobench.assets import catalog

    wrong = (
        *(("size = 12", f"size = {size}") for size in ("-1", "1.5", '"12"', "true", "9" * 30, "9" * 5000, "[]")),
        ('"model.bin"', '"../model.bin"'), ('"model.bin"', '""'), ('"model.bin"', "3"), ("tiny/model.bin", "../../model.bin"),
        ("tiny/model.bin", "/etc/passwd"), ("0" * 64, "abc"), ("licence", "license"), ('"MIT"', "1"), ("default = true", 'default = "yes"'),
        ("[tiny]", '["../tiny"]'), ("hub = {", "hubs = {"), ('"main"', "5"), ('version = "1.0"', "version = 1.0"),
    )  # fmt: skip
    return _file(folder, "assets.toml", *_with_reader(_mutate_toml(rng, ASSETS, wrong), catalog._read.__wrapped__))


def model_config(rng: Random, folder: Path) -> Case:
    from reference_model.config import ModelConfig

    def read(path: Path) -> None:
        config = ModelConfig.load(str(path))
        if ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) != config:
            raise Nonsense("the configuration does not read back")

    line = rng.choice([each for each in MODEL_BYTES.splitlines() if " = " in each and not each.startswith("#")])
    key = line.partition(" = ")[0]
    values = ("nan", "[[[]]]", "{}", "1979-05-27", "9" * 5000, "-9" + 400 * "9", "{ a = 1 }")
    wrong = tuple((line, f"{key} = {value}") for value in values)
    return _file(folder, "m.toml", *_with_reader(_mutate_toml(rng, MODEL_BYTES, (*wrong, (line, f"zz_{line}"))), read))


def loop_config(rng: Random, folder: Path) -> Case:
    from reference_model.train.engine.loop_config import LoopConfig, parse_loop_config

    names = list(LoopConfig.__dataclass_fields__)
    name = rng.choice([*names, "stepz", "", "lr ", odd_text(rng)])
    value = rng.choice(
        [
            *map(str, ODD_NUMBERS),
            *ODD_TEXTS,
            "nan",
            "inf",
            "-inf",
            "[0.9,0.98]",
            "[9,9]",
            "[NaN,1]",
            "9" * 5000,
            "no",
            "bf16",
        ]
    )
    pair = rng.choice((f"{name}={value}", f"{name}={value}", name, f"={value}"))

    def read() -> None:
        loop = parse_loop_config({}, [pair])
        loop.rate(0)
        numbers = [loop.lr, loop.decay, loop.weight_decay, loop.clip, loop.spike, loop.batch_s, *loop.betas]
        if not all(0 <= number <= 1e12 for number in numbers) or not all(0 <= beta < 1 for beta in loop.betas):
            raise Nonsense(f"{loop}")

    expected: Expected = (
        "refused" if value in ("nan", "inf", "-inf", "[NaN,1]", "[9,9]") or name not in names else "either"
    )
    return Case(read, pair[:80], expected, {"pair.txt": pair.encode("utf-8", "surrogatepass")})


def questions(rng: Random, folder: Path) -> Case:
    from fobench_plugins.suites.spoken_qa.questions import read_questions

    kind = rng.randrange(3)
    if kind == 0:
        wrong = rng.choice(
            (
                {"question": ""},
                {"question": 3},
                {"question": None},
                {"question": ["a"]},
                {"question": {}},
                {"question": " "},
                {"question": "half \ud800"},
            )
        )
        content, expected, about = encoded({**QUESTION, **wrong}), "refused", f"{wrong}"
    else:
        content, expected, about = mutate_json(rng, QUESTION, lambda path: path == ("question",), closed=False)
        content = content.replace(b"\n", b" ")
    return _file(folder, "q.jsonl", content + b"\n", read_questions, expected, about)  # type: ignore[arg-type]


def trainer_manifest(rng: Random, folder: Path) -> Case:
    from reference_model.train.data import manifests
    from reference_model.train.engine.skipped_samples import SkippedSamples

    write_tone(folder / "a.wav", 2.0)
    suffix = rng.choice((".jsonl", ".json", ".tsv", ".csv"))
    expected: Expected
    if suffix in (".tsv", ".csv"):
        mark = "\t" if suffix == ".tsv" else ","
        content = mark.join(CLIP).encode() + b"\n" + mark.join(map(str, CLIP.values())).encode() + b"\n"
        content, expected, about = (
            (noisy(rng, content), "either", "noise") if rng.random() < 0.8 else (content, "accepted", "plain")
        )
    elif rng.random() < 0.5:
        wrong = rng.choice(WRONG_CLIP)
        content, expected, about = encoded({**CLIP, **wrong}), "refused", f"{wrong}"
    else:
        content, expected, about = mutate_json(rng, CLIP, lambda path: path[0] in ("audio", "text"), closed=False)
        content = content.replace(b"\n", b" ")

    def read(path: Path) -> None:
        faults = SkippedSamples()
        found = manifests.entries(path, "train", faults)
        for entry in found:
            if not 0 < entry.seconds < 1e6 or not entry.text.strip():
                raise Nonsense(f"{entry}")
        if faults.entries or not found:
            raise FobenchError(f"nothing, or faults: {faults.entries}"[:2000])

    return _file(folder, f"clips{suffix}", content, read, expected, about)


def bench_events(rng: Random, folder: Path) -> Case:
    from fobench_plugins.suites.full_duplex_bench import EVENT_FILES, read_events

    events = [{"text": "wait", "timestamp": [1.0, 2.0]}]
    content, expected, about = mutate_json(rng, events, lambda path: "timestamp" in path, closed=False)
    sample = folder / "candor_pause_handling" / "1"
    sample.mkdir(parents=True)
    name = EVENT_FILES[0]
    (sample / name).write_bytes(content)
    expected = "either" if expected == "refused" and about[:1].isdigit() is False and "type" in about else expected
    return Case(lambda: read_events(sample), about, expected, {name: content})


SURFACES = (
    Surface("cost-table", cost_table),
    Surface("baseline", baseline),
    Surface("manifest", manifest, weight=12),
    Surface("scenario-file", scenario_file),
    Surface("asset-table", asset_table),
    Surface("model-config", model_config, weight=3),
    Surface("loop-config", loop_config),
    Surface("questions", questions),
    Surface("trainer-manifest", trainer_manifest),
    Surface("bench-events", bench_events, weight=6),
)
