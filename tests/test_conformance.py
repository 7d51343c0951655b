"""The conformance suite passes what keeps its contract and names what does not: each contract is broken once on purpose."""

import inspect
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fobench import conformance, plugins
from fobench.errors import FobenchError
from fobench.hookspecs import hookimpl
from fobench.results import Results
from fobench.scenario import Scenario
from fobench.types import Action, AudioChunk, Event, EventKind, Score, Transcript, Word


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FOBENCH_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture
def findings():
    """`findings(kind, component)`: {check: message} of the checks that fail."""

    def run(kind, component):
        fresh()
        plugins.manager().register(toys(kind, component))
        return {c.name: c.message for c in conformance.check(kind, "toy") if not c.ok}

    yield run
    fresh()


def fresh():
    plugins.manager.cache_clear()
    plugins.factories.cache_clear()


def toys(kind, component):
    """A plugin with one component, named `toy`."""
    factory = component if inspect.isfunction(component) else lambda: component
    return type("Toys", (), {f"fobench_{kind}": hookimpl(lambda self: {"toy": factory})})()


# ---- Finding the component -------------------------------------------------------------------------------------------


def test_a_name_alone_tells_its_kind():
    assert conformance.find_kind("controls") == "suites"
    assert conformance.find_kind("scripted:late") == "systems"
    assert conformance.find_kind("manifest:some/folder") == "suites"


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(FobenchError, match=r"Unknown component 'controlls'\. Did you mean 'controls'"):
        conformance.find_kind("controlls")


def test_a_name_of_two_kinds_needs_its_kind(findings):  # which clears the registry afterwards
    fresh()
    for kind in ("codecs", "voices"):
        plugins.manager().register(toys(kind, None))
    with pytest.raises(FobenchError, match="add --kind codecs or --kind voices"):
        conformance.find_kind("toy")


def test_a_wrong_option_is_refused():
    with pytest.raises(FobenchError, match="Did you mean 'delay_ms'"):
        conformance.check("systems", "scripted:late", {"delay": 3})


def test_a_factory_that_fails_is_a_finding(findings):
    def factory():
        raise ValueError("no such luck")

    (message,) = findings("voices", factory).values()
    assert message.startswith("raised ValueError: no such luck at test_conformance.py:")


# ---- Built-in components ---------------------------------------------------------------------------------------------

SCRIPTED = ("silent", "talking", "echo", "late", "yields", "never-yields", "yields-always", "gibberish")


@pytest.mark.parametrize("name", SCRIPTED)
def test_the_controls_keep_the_contract_of_systems(name):
    assert all(check.ok for check in conformance.check("systems", f"scripted:{name}"))


@pytest.mark.parametrize("kind", ["metrics", "reporters"])
def test_every_built_in_keeps_its_contract(kind):
    wrong = {n: c for n in plugins.factories(kind) for c in conformance.check(kind, n) if not c.ok}
    assert not wrong


@pytest.mark.parametrize("name", ["controls", "spoken-qa"])
def test_the_suites_keep_their_contract(name):
    assert all(check.ok for check in conformance.check("suites", name))


# ---- Systems ---------------------------------------------------------------------------------------------------------


class System:
    """Answers one second after its first loud chunk, with 0.2 s of tone; parts are replaced to break it."""

    input_rate_hz, output_rate_hz, chunk = 16_000, 24_000, 320

    def open(self, seed):
        return Session(self)

    def reply(self):
        wave = (0.1 * np.sin(np.arange(4_800) / 10)).astype(np.float32)
        yield Event(EventKind.DECISION, {"action": Action.SPEAK})
        yield Event(EventKind.TOKEN, {"text": "Hello.", "reply": 0})
        yield Event(EventKind.AUDIO, {"audio": AudioChunk(wave, 24_000), "reply": 0})
        yield Event(EventKind.REPLY_END, {"reply": 0})


class Session:
    def __init__(self, system):
        self.system, self.wait, self.pending = system, None, []

    def push(self, chunk):
        if self.wait is None and np.abs(chunk.samples).max() > 0.05:
            self.wait = 50
        elif self.wait is not None:
            self.wait -= 1
        if self.wait == 0:
            self.pending += self.system.reply()
        return self.drain()

    def drain(self):
        while self.pending:
            yield self.pending.pop(0)

    def heard(self, reply, samples): ...

    def finish(self):
        return self.drain()

    def __enter__(self):
        return self

    def __exit__(self, *exc): ...


def system(**parts):
    return type("Broken", (System,), parts)()


def reply_of(*events):
    return lambda self: iter(events)


def packet(samples, rate=24_000, **data):
    return Event(EventKind.AUDIO, {"audio": AudioChunk(samples, rate), "reply": 0, **data})


SOUND = np.full(100, 0.5, np.float32)


class Forgetful(Session):
    def push(self, chunk):
        found = list(super().push(chunk))
        yield from found


class Leaky(System):
    """All sessions share their pending work."""

    def __init__(self):
        self.count = 0

    def reply(self):
        self.count += 1
        yield Event(EventKind.TOKEN, {"text": f"Hello {self.count}.", "reply": 0})


def test_a_good_system_has_no_findings(findings):
    assert findings("systems", system()) == {}


@pytest.mark.parametrize(
    ("parts", "check", "message"),
    [
        ({"chunk": 0}, "rates and chunk", "chunk must be an int > 0, not 0"),
        ({"input_rate_hz": 16e3}, "rates and chunk", "input_rate_hz must be an int > 0, not 16000.0"),
        ({"reply": reply_of("hello")}, "events", "event 0 is a str, not a fobench.types.Event"),
        ({"reply": reply_of(Event(EventKind.DECISION, {}))}, "events", "decision without a known action (None)"),
        ({"reply": reply_of(Event(EventKind.TOKEN))}, "events", "event 0 (token) has no data['text']"),
        ({"reply": reply_of(Event(EventKind.BUSY, media_ns=0.5))}, "events", "event 0: media_ns is 0.5"),
        ({"reply": reply_of(packet(SOUND.astype(float)))}, "audio", "samples must be float32, not float64"),
        ({"reply": reply_of(packet(SOUND[None]))}, "audio", "samples must be [T], not [1, 100]"),
        ({"reply": reply_of(packet(SOUND * np.nan))}, "audio", "not finite"),
        ({"reply": reply_of(packet(SOUND * 3))}, "audio", "must lie in [-1, 1]; its peak is 1.5"),
        ({"reply": reply_of(packet(SOUND, 16_000))}, "audio", "is at 16000 Hz, output_rate_hz is 24000"),
        ({"reply": reply_of(packet(SOUND, reply=1), packet(SOUND))}, "replies", "event 1: reply 0 after 1"),
        (
            {"reply": reply_of(Event(EventKind.REPLY_END, {"reply": 0}), packet(SOUND))},
            "replies",
            "event 1: audio of reply 0 after its reply_end",
        ),
        ({"open": lambda self, seed: Forgetful(self)}, "dropped iterators lose nothing", "text is lost or changed"),
        ({"answer": lambda self, history, seed: None}, "text route", "answer() must return a str, not NoneType"),
    ],
)
def test_what_is_wrong_with_a_system_is_told(findings, parts, check, message):
    assert message in findings("systems", system(**parts))[check]


def test_a_system_that_remembers_the_last_conversation_is_found(findings):
    found = findings("systems", Leaky())
    assert "event 0 differs the second time" in found["same seed, same events"]
    assert "conversations do not mix" in found
    assert "after one that was left in the middle" in found["closing forgets"]


def test_a_system_that_raises_is_found_with_its_place(findings):
    found = findings("systems", system(open=lambda self, seed: 1 / 0))
    assert found["silence"].startswith("raised ZeroDivisionError: division by zero at test_conformance.py:")


# ---- Backbones -------------------------------------------------------------------------------------------------------


class Backbone:
    """A running mean with a random read-out, in numpy."""

    name, hidden_size, vocab_size = "toy", 8, 40

    def __init__(self):
        draw = np.random.default_rng(0)
        self.table, self.readout = draw.normal(size=(40, 8)), draw.normal(size=(8, 40))

    def chat(self, messages):
        return [ord(c) % 40 for message in messages for c in message["content"]]

    def embed(self, ids):
        return self.table[np.asarray(ids)]

    def step(self, x, state=None):
        seen = x[0] if state is None else np.concatenate([state, x[0]])
        hidden = np.cumsum(seen, axis=0)[-x.shape[1] :] / np.arange(1, len(seen) + 1)[-x.shape[1] :, None]
        return hidden[None], (hidden @ self.readout)[None], seen

    def fork(self, state):
        return state.copy()

    def crop(self, state, length):
        return state[:length]

    def stream(self, messages, *, max_tokens, seed, temperature=0.0):
        yield from ["Paris", "."][:max_tokens]

    def parameter_hash(self):
        return str(self.table.sum())


class Parameter:
    requires_grad = True


class Module:
    training = True

    def parameters(self):
        return [Parameter()]


class Trained(Backbone):
    def __init__(self):
        super().__init__()
        self.module = Module()


class Learning(Backbone):
    def step(self, x, state=None):
        self.table = self.table * 1.01
        return super().step(x, state)


class SharedState(Backbone):
    """Forks by handing out the original, which `step` changes in place."""

    def step(self, x, state=None):
        hidden, logits, seen = super().step(x, np.array(state) if state else None)
        state = [] if state is None else state
        state[:] = list(seen)
        return hidden, logits, state

    def fork(self, state):
        return state

    def crop(self, state, length):
        return list(state[:length])


def backbone(**parts):
    return type("BrokenBackbone", (Backbone,), parts)()


def test_a_good_backbone_has_no_findings(findings):
    assert findings("backbones", Backbone()) == {}


@pytest.mark.parametrize(
    ("parts", "check", "message"),
    [
        ({"hidden_size": "8"}, "sizes", "hidden_size must be an int > 0"),
        ({"chat": lambda self, messages: [99]}, "chat template", "ids [99] are not in 0 to 39"),
        ({"chat": lambda self, messages: [1, 2, 3, 4, 5, 6]}, "chat template", "a system message changes nothing"),
        ({"hidden_size": 9}, "shapes", "embed(ids [1, T]) must be [1, 36, 9], not [1, 36, 8]"),
        (
            {"step": lambda self, x, state=None: Backbone.step(self, x)},
            "step by step is as at once",
            "one position at a time has cosine",
        ),
        ({"crop": lambda self, state, length: state}, "a crop is as never said", "after a crop has cosine"),
        ({"stream": lambda self, messages, **_: iter(["a"] * 99)}, "stream", "max_tokens=12 gave 99 pieces"),
        (
            {"stream": lambda self, messages, *, seed, **_: iter([str(seed)])},
            "stream",
            "greedy decoding depends on the seed",
        ),
    ],
)
def test_what_is_wrong_with_a_backbone_is_told(findings, parts, check, message):
    assert message in findings("backbones", backbone(**parts))[check]


def test_a_fork_that_is_the_original_is_found(findings):
    assert "on a fork has cosine" in findings("backbones", SharedState())["a fork lives by itself"]


def test_a_backbone_that_can_learn_is_found(findings):
    assert findings("backbones", Trained())["frozen"] == "1 parameters of Module have requires_grad"
    assert "parameter_hash() was" in findings("backbones", Learning())["parameters unchanged"]


# ---- Codecs ----------------------------------------------------------------------------------------------------------


class Codec:
    """Keeps the first sample of every 10 ms, in 256 steps."""

    sample_rate_hz, frame_rate_hz, num_codebooks, cardinality = 16_000, 100.0, 1, 256

    def encode(self, audio, state=None, last=False):
        wave = audio if state is None else np.concatenate([state, audio])
        frames = -(-len(wave) // 160) if last else len(wave) // 160
        codes = np.round((wave[: frames * 160 : 160] + 1) * 127.5).astype(np.int64)
        return codes[None], wave[frames * 160 :]

    def decode(self, codes, state=None, last=False):
        return np.repeat(codes[0] / 127.5 - 1, 160).astype(np.float32), None


def codec(**parts):
    return type("BrokenCodec", (Codec,), parts)()


def test_a_good_codec_has_no_findings(findings):
    assert findings("codecs", Codec()) == {}


@pytest.mark.parametrize(
    ("parts", "check", "message"),
    [
        ({"num_codebooks": 2}, "codes", "1 codebooks, not 2"),
        ({"cardinality": 16}, "codes", "leave 0 to 15"),
        ({"frame_rate_hz": 50.0}, "codes", "frames of audio"),
        (
            {"encode": lambda self, audio, state=None, last=False: Codec.encode(self, audio, None, last)},
            "streamed encoding is as offline",
            "in chunks of 59 samples: codes",
        ),
        (
            {"decode": lambda self, codes, state=None, last=False: (Codec.decode(self, codes)[0][:-1], None)},
            "streamed decoding is as offline",
            "by 1 frames at a time",
        ),
        (
            {"decode": lambda self, codes, state=None, last=False: (Codec.decode(self, codes)[0][::2], None)},
            "there and back",
            "frames off",
        ),
    ],
)
def test_what_is_wrong_with_a_codec_is_told(findings, parts, check, message):
    assert message in findings("codecs", codec(**parts))[check]


# ---- Recognizers and voices ------------------------------------------------------------------------------------------


class Recognizer:
    def transcribe(self, audio):
        loud = len(audio.samples) and np.abs(audio.samples).max() > 0.01
        return Transcript("hello there", (Word("hello", 0, 500), Word("there", 500, 900))) if loud else Transcript("")


class Voice:
    rate_hz, speakers = 16_000, ("one", "two")

    def speak(self, text, seed, speaker=None):
        if speaker not in (None, *self.speakers):
            raise FobenchError(f"Unknown speaker {speaker!r}. Choices: one, two.")
        return AudioChunk(np.full(1_600 * len(text.strip(" .")), 0.1, np.float32), self.rate_hz)


def recognizer(**parts):
    return type("BrokenRecognizer", (Recognizer,), parts)()


def voice(**parts):
    return type("BrokenVoice", (Voice,), parts)()


def test_good_ears_and_mouths_have_no_findings(findings):
    assert findings("recognizers", Recognizer()) == {}
    assert findings("voices", Voice()) == {}


def hearing(*words):
    return {"transcribe": lambda self, audio: Transcript("you", tuple(words))}


@pytest.mark.parametrize(
    ("parts", "check", "message"),
    [
        (hearing(), "silence", "heard 'you' in 3 s of digital silence"),
        (hearing(), "next to nothing", "heard 'you' in 0 samples of silence"),
        (hearing(Word("you", 5, 9), Word("me", 1, 2)), "word times", "begins before the word before it"),
        (hearing(Word("you", 0, 10**12)), "word times", "is not within"),
        (hearing(Word("you", 0.0, 1.0)), "word times", "times must be int ns"),
        ({"transcribe": lambda self, audio: "you"}, "speech", "returned a str, not a Transcript"),
    ],
)
def test_what_is_wrong_with_a_recognizer_is_told(findings, parts, check, message):
    assert message in findings("recognizers", recognizer(**parts))[check]


def noise(self, text, seed, speaker=None):
    return AudioChunk(np.random.default_rng().uniform(-0.5, 0.5, 16_000).astype(np.float32), 16_000)


@pytest.mark.parametrize(
    ("parts", "check", "message"),
    [
        ({"speakers": ["one"]}, "rate and speakers", "speakers must be a tuple"),
        ({"speak": lambda self, *a: AudioChunk(np.zeros(9, np.float32), 16_000)}, "speech", "nothing can be heard"),
        ({"speak": noise}, "same seed, same sound", "another sound the second time"),
        ({"speak": noise}, "unknown speaker", "must be refused with a FobenchError"),
        ({"rate_hz": 24_000, "speak": noise}, "speech", "16000 Hz, rate_hz is 24000"),
    ],
)
def test_what_is_wrong_with_a_voice_is_told(findings, parts, check, message):
    assert message in findings("voices", voice(**parts))[check]


# ---- Suites, metrics, reporters --------------------------------------------------------------------------------------


class Suite:
    """The `controls`, changed."""

    def __init__(self, change=lambda scenarios: scenarios):
        self.change = change

    def scenarios(self, seed):
        yield from self.change(list(plugins.create("suites", "controls", {"count": 4}).scenarios(seed)))


def with_turn(scenario: Scenario, **fields) -> Scenario:
    return replace(scenario, turns=(replace(scenario.turns[0], **fields),))


@pytest.mark.parametrize(
    ("change", "check", "message"),
    [
        (lambda s: [], "scenarios", "holds no scenario"),
        (lambda s: [s[0], s[0]], "scenarios", "ids occur twice: question-01"),
        (lambda s: [replace(s[0], turns=())], "scenarios", "question-01: has no turn"),
        (lambda s: [with_turn(s[0], sha256="0")], "audio", "question-01, turn 0: sha256 is '0'"),
        (lambda s: [with_turn(s[0], audio="gone.wav")], "audio", "gone.wav does not exist"),
        (lambda s: [with_turn(s[0], end_ns=10**12)], "audio", "leaves the file"),
        (lambda s: [replace(s[0], tags={"when": ("now",)})], "JSON and back", "is another after JSON"),
        (lambda s: [replace(s[0], seed=id(s))], "same seed, same scenarios", "differs the second time"),
    ],
)
def test_what_is_wrong_with_a_suite_is_told(findings, change, check, message):
    kept = []  # so that no list has the address of an earlier one

    def changed(scenarios):
        kept.append(scenarios)
        return change(scenarios)

    assert message in findings("suites", Suite(changed))[check]


class Metric:
    name, version, unit, better = "toy", 1, "ms", "lower"

    def score(self, trace, scenario):
        return Score("toy", 1, None, "ms", 0, reason="none")

    def aggregate(self, scores):
        return [Score("toy", 1, None, "ms", 0, reason="none")]


def metric(**parts):
    return type("BrokenMetric", (Metric,), parts)()


COUNT = itertools.count(1.0)


def scoring(*arguments, **fields):
    return lambda self, *_: Score(*arguments, **fields)


@pytest.mark.parametrize(
    ("parts", "check", "message"),
    [
        ({"better": "more"}, "name, version, unit", "better must be higher, lower or none"),
        ({"score": scoring("toy", 1, None, "ms", 0)}, "scores an empty trace", "toy is None without a reason"),
        ({"score": scoring("toy", 1, float("nan"), "ms", 0)}, "scores an empty trace", "toy is nan"),
        ({"score": lambda *_: Score("toy", 1, next(COUNT), "ms", 1)}, "scores an empty trace", "not pure"),
        ({"score": scoring("toy", 1, float("inf"), "ms", 0)}, "scores an empty trace", "toy is inf"),
        ({"score": scoring("toy", 2, 1.0, "ms", 1)}, "scores an empty trace", "score has version 2, the metric 1"),
        ({"score": scoring("toy", 1, 0.0, "ms", 1)}, "a failure has no score", "is 0.0"),
        ({"score": lambda self, trace, _: trace.replies[0]}, "scores an empty trace", "raised IndexError"),
        ({"aggregate": lambda self, scores: [Score("toy", 1, 0.0, "ms", 0)]}, "aggregates nothing", "must be None"),
        ({"aggregate": lambda self, scores: []}, "aggregates", "aggregate() gave no score"),
    ],
)
def test_what_is_wrong_with_a_metric_is_told(findings, parts, check, message):
    assert message in findings("metrics", metric(**parts))[check]


class Reporter:
    def __init__(self, write):
        self.write_as = write

    def write(self, results: Results, folder: Path):
        return self.write_as(results, folder)


def written(folder, text):
    (folder / "out.txt").write_text(text)
    return folder / "out.txt"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda results, folder: folder / "nothing.txt", "where there is no file"),
        (lambda results, folder: Path(__file__), "wrote outside of the folder"),
        (lambda results, folder: written(folder, ""), "wrote out.txt, empty"),
        (lambda results, folder: written(folder, str(results.totals[0].value)), "raised IndexError"),
    ],
)
def test_what_is_wrong_with_a_reporter_is_told(findings, write, message):
    assert message in findings("reporters", Reporter(write))["an empty result"]


def test_good_metrics_reporters_and_suites_have_no_findings(findings):
    assert findings("metrics", Metric()) == {}
    assert findings("reporters", Reporter(lambda results, folder: written(folder, "fine"))) == {}
    assert findings("suites", Suite()) == {}
