"""Each contract of backbones and codecs, broken once on purpose, is named."""

import codecs

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("home")


# ---- Backbones -------------------------------------------------------------------------------------------------------


class Bytes:
    """UTF-8, byte by byte, into text."""

    def __init__(self):
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def push(self, token):
        return self._decoder.decode(bytes([token]))

    def flush(self):
        return self._decoder.decode(b"", final=True)


class Backbone:
    """A running mean with a random read-out, in numpy."""

    name, hidden_size, vocab_size, context = "toy", 8, 257, 1000
    end_ids = frozenset({256})

    def __init__(self):
        draw = np.random.default_rng(0)
        self.table, self.readout = draw.normal(size=(257, 8)), draw.normal(size=(8, 257))

    def encode(self, text):
        return list(text.encode())

    def detokenizer(self):
        return Bytes()

    def chat(self, messages):
        return [byte for message in messages for byte in self.encode(message["content"])]

    def embed(self, ids):
        return self.table[np.asarray(ids)]

    def step(self, x, state=None, *, logits=None):
        seen = x[0] if state is None else np.concatenate([state, x[0]])
        hidden = np.cumsum(seen, axis=0)[-x.shape[1] :] / np.arange(1, len(seen) + 1)[-x.shape[1] :, None]
        kept = hidden if logits is None else hidden[len(hidden) - logits :]
        return hidden[None], (kept @ self.readout)[None], seen

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
    def step(self, x, state=None, *, logits=None):
        self.table = self.table * 1.01
        return super().step(x, state, logits=logits)


class SharedState(Backbone):
    """Forks by handing out the original, which `step` changes in place."""

    def step(self, x, state=None, *, logits=None):
        hidden, logits, seen = super().step(x, np.array(state) if state else None, logits=logits)
        state = [] if state is None else state
        state[:] = list(seen)
        return hidden, logits, state

    def fork(self, state):
        return state

    def crop(self, state, length):
        return list(state[:length])


def backbone(**parts):
    return type("BrokenBackbone", (Backbone,), parts)()


def test_a_hash_that_raises_costs_no_other_check(findings):
    def raising(self):
        raise RuntimeError("no weights here")

    found = findings("backbones", backbone(parameter_hash=raising))
    assert set(found) == {"parameter hash", "parameters unchanged"}
    assert "no weights here" in found["parameter hash"]


def test_a_good_backbone_has_no_findings(findings):
    assert findings("backbones", Backbone()) == {}


@pytest.mark.parametrize(
    ("parts", "check", "message"),
    [
        ({"hidden_size": "8"}, "sizes", "hidden_size must be an int > 0"),
        ({"chat": lambda self, messages: [999]}, "chat template", "ids [999] are not in 0 to 256"),
        ({"chat": lambda self, messages: [1, 2, 3, 4, 5, 6]}, "chat template", "a system message changes nothing"),
        ({"hidden_size": 9}, "shapes", "embed(ids [1, T]) must be [1, 36, 9], not [1, 36, 8]"),
        (
            {"step": lambda self, x, state=None: Backbone.step(self, x)},
            "step by step equals one step",
            "one position at a time has cosine",
        ),
        ({"crop": lambda self, state, length: state}, "crop removes positions", "after a crop has cosine"),
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


def test_whole_numbers_are_no_hidden_states(findings):
    found = findings("backbones", backbone(embed=lambda self, ids: np.zeros((*np.shape(ids), 8), np.int64)))
    assert found["shapes"] == "embed() must be floating, not int64"


@pytest.mark.parametrize(("kept", "message"), [(slice(-1, None), ""), (slice(0, 1), "by step(x, logits=1) has cosine")])
def test_hidden_states_with_the_last_logits_end_with_the_last(findings, kept, message):
    def step(self, x, state=None, *, logits=None):
        hidden, scores, state = Backbone.step(self, x, state, logits=logits)
        return hidden if logits is None else hidden[:, kept], scores, state

    checks = findings("backbones", backbone(step=step))
    assert message in checks.get("shapes", "") and bool(message) == ("shapes" in checks)


def test_a_backbone_that_is_kept_after_its_last_use_is_found(findings):
    kept = []

    def factory():
        kept.append(Backbone())
        return kept[-1]

    assert "it is still referenced after its last use (by list)" in findings("backbones", factory)["memory is released"]
    assert findings("backbones", lambda: Backbone()) == {}


def test_one_that_closes_is_closed(findings):
    class Closing(Backbone):
        itself = []

        def __init__(self):
            super().__init__()
            self.itself.append(self)

        def close(self):
            self.itself.clear()

    def factory():
        return Closing()

    assert findings("backbones", factory) == {}


def test_one_that_asks_when_told_to_be_offline_is_found(findings):
    import socket

    def factory(*, offline: bool = False):
        with socket.socket() as caller:
            caller.settimeout(0.01)
            caller.connect_ex(("127.0.0.1", 9))
        return Backbone()

    message = findings("backbones", factory)["offline: no network access"]
    assert message == "created with offline=true, it contacted 127.0.0.1"

    def honest(*, offline: bool = False):
        if not offline:
            factory()
        return Backbone()

    assert findings("backbones", honest) == {}


def test_a_fork_that_is_the_original_is_found(findings):
    assert "on a fork has cosine" in findings("backbones", SharedState())["a fork is independent"]


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
            "streaming encoding equals offline",
            "in chunks of 59 samples: codes",
        ),
        (
            {"decode": lambda self, codes, state=None, last=False: (Codec.decode(self, codes)[0][:-1], None)},
            "streaming decoding equals offline",
            "by 1 frames at a time",
        ),
        (
            {"decode": lambda self, codes, state=None, last=False: (Codec.decode(self, codes)[0][::2], None)},
            "encode-decode",
            "frames off",
        ),
    ],
)
def test_what_is_wrong_with_a_codec_is_told(findings, parts, check, message):
    assert message in findings("codecs", codec(**parts))[check]


class SharedRest(Codec):
    """Keeps what is not coded yet in a list that every state of a stream shares."""

    def encode(self, audio, state=None, last=False):
        state = [] if state is None else state
        codes, rest = Codec.encode(self, audio, np.array(state, np.float32), last)
        state[:] = list(rest)
        return codes, state


def test_a_codecs_state_that_is_changed_in_place_is_found(findings):
    found = findings("codecs", SharedRest())
    assert list(found) == ["reusing a state forks it"]
    assert "encode() with a state used before: " in found["reusing a state forks it"]
