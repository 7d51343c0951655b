"""The duration predictor: alignment of rows with codes, stepwise equals teacher-forced, the segment ends with its text."""

from __future__ import annotations

import pytest
import torch

from reference_model.speech_output.duration_predictor import DurationPredictor
from reference_model.speech_output.phonemizer import aligned_text, phonemes, phonemes_by_token
from reference_model.speech_output.sampling import Sampling, generator
from reference_model.speech_output.speech_decoder import SpeechDecoder, SpeechDecoderConfig

CONFIG = SpeechDecoderConfig(
    64, 2, 96, layers=2, pre_layers=1, codebooks=2, codes=32, thoughts=False, characters=1024, phonetic=True, paced=True
)
LASTING = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.5, 2.5, 3.0]])  # two tokens of two rows, five phonemes


def decoder(monkeypatch, durations=LASTING):
    torch.manual_seed(0)
    made = SpeechDecoder(CONFIG).eval()
    monkeypatch.setattr(made.pace, "durations", lambda rows: durations)
    return made


def rows(decoder):
    return decoder.text_rows(torch.randn(2, 128, generator=generator(1)), phonemes_by_token([7, 8], "hɛloʊ"[:5]))


def test_frames_are_aligned_with_rows_by_duration_and_never_with_silent_rows():
    pace = DurationPredictor(2)
    torch.nn.init.eye_(pace.now.weight)
    for part in (pace.now.bias, pace.when.weight, pace.when.bias):
        torch.nn.init.zeros_(part)
    said = torch.arange(9.0)[None, :, None].expand(-1, -1, 2)
    read = pace.read(said, LASTING, 12)[0, :, 0]
    assert read.tolist() == [4, 5, 5, 6, 7, 7, 7, 8, 8, 8, 8, 8]  # the middle of each frame; beyond the end, the last


def test_the_position_is_the_time_since_the_rows_start_and_to_its_end():
    pace = DurationPredictor(2)
    for part in (pace.now.weight, pace.now.bias, pace.when.bias):
        torch.nn.init.zeros_(part)
    torch.nn.init.eye_(pace.when.weight)
    told = pace.read(torch.zeros(1, 2, 2), torch.tensor([[3.0, 2.0]]), 5)[0]
    assert torch.allclose(told[:, 0] * 10, torch.tensor([0.5, 1.5, 2.5, 0.5, 1.5]))
    assert torch.allclose(told[:, 1] * 10, torch.tensor([2.5, 1.5, 0.5, 1.5, 0.5]))


def test_durations_are_learned():
    torch.manual_seed(0)
    pace, said = DurationPredictor(8), torch.randn(1, 6, 8)
    wanted = torch.tensor([[0.0, 0.0, 2.0, 5.0, 1.0, 3.5]])
    seen = torch.ones(1, 6, dtype=torch.bool)
    optimiser = torch.optim.Adam(pace.parameters(), lr=0.02)
    for _ in range(300):
        optimiser.zero_grad()
        pace.loss(said, wanted, seen).backward()
        optimiser.step()
    assert torch.allclose(pace.durations(said), wanted, atol=0.2)
    assert pace.durations(said)[0, :2].tolist() == [0.0, 0.0]
    assert pace.loss(said, wanted, torch.zeros_like(seen)).item() == 0.0


@torch.no_grad()
def test_it_says_what_teacher_forcing_finds_likeliest_and_ends_with_its_text(monkeypatch):
    made = decoder(monkeypatch)
    state = made.prefill(rows(made))
    kept = state.fork()
    frames = []
    while (frame := made.step(state, Sampling(top_k=1), generator(0))) is not None:
        frames.append(frame)
    codes = torch.stack(frames, -1)[None]  # [1, 2, 10]
    assert codes.shape[-1] == LASTING.sum()
    logits, _ = made(rows(made), torch.tensor([9]), codes, torch.tensor([10]), durations=LASTING)
    for k in range(2):
        assert torch.equal(logits[0, k, k : 10 + k, :32].argmax(-1), codes[0, k])
    again = [made.step(kept, Sampling(top_k=1), generator(0)) for _ in range(10)]
    assert torch.equal(torch.stack(again, -1), codes[0])


@torch.no_grad()
def test_padding_changes_no_duration_and_no_logit(monkeypatch):
    made = decoder(monkeypatch)
    text, codes = rows(made), torch.randint(32, (1, 2, 10), generator=generator(2))
    alone, _ = made(text, torch.tensor([9]), codes, torch.tensor([10]), durations=LASTING)
    wide = torch.nn.functional.pad(text, (0, 0, 0, 4))
    lasting = torch.nn.functional.pad(LASTING, (0, 4))
    beside, _ = made(wide, torch.tensor([9]), codes, torch.tensor([10]), durations=lasting)
    assert torch.allclose(alone, beside, atol=1e-5)


def test_a_text_that_lasts_no_time_still_has_a_frame_and_learning_needs_durations(monkeypatch):
    made = decoder(monkeypatch, torch.zeros(1, 9))
    state = made.prefill(rows(made))
    assert made.step(state, Sampling(top_k=1), generator(0)) is not None
    assert made.step(state, Sampling(top_k=1), generator(0)) is None
    with pytest.raises(ValueError, match="durations"):
        made(rows(made), torch.tensor([9]), torch.zeros(1, 2, 3, dtype=torch.long), torch.tensor([3]))


def test_phonemes_are_espeak_s_and_stand_beside_the_last_token():
    assert phonemes("Read it. Why?") == "ɹˈiːd ɪt.wˈaɪ?"
    assert aligned_text([4, 5], "Why?", None, phonetic=True) == ["", "wˈaɪ?"]
    assert phonemes_by_token([], "") == []
