"""Discriminators of the codec training: gradients of the losses, their values, and separation of speech from noise."""

import pytest
import torch

from reference_model.train.speech_output.discriminators import DiscriminatorConfig, Discriminators, mel_distance
from tests.support.beep_voice import Beeps

SMALL = DiscriminatorConfig(width=2, periods=(2, 3), windows=(256,))
RATE = 16_000


def adversary(config=SMALL):
    torch.manual_seed(0)
    return Discriminators(config)


def sounds(count=4, samples=4000):
    """Speech, and noise of the same loudness."""
    words = ("hello big world", "the quick brown", "a lazy dog", "pack my box now")
    real = torch.stack([torch.from_numpy(Beeps().speak(word, 0).samples[:samples]) for word in words[:count]])
    return real, torch.randn(real.shape, generator=torch.Generator().manual_seed(1)) * real.std()


def gradients(module):
    return [p.grad for p in module.parameters() if p.grad is not None and p.grad.any()]


def test_its_own_loss_teaches_the_adversary_alone():
    judges, (real, noise) = adversary(), sounds()
    noise.requires_grad_()
    judges(real, noise).discriminator_loss.backward()
    assert noise.grad is None
    assert len(gradients(judges)) == len(list(judges.parameters()))


@pytest.mark.parametrize("loss", ["generator_loss", "feature_loss"])
def test_the_generators_losses_teach_the_generator_alone(loss):
    judges, (real, noise) = adversary(), sounds()
    noise.requires_grad_()
    getattr(judges(real, noise), loss).backward()
    assert noise.grad.any()
    assert not gradients(judges)


def test_losses_are_those_of_two_separate_steps():
    """LSGAN and feature matching, written out as a discriminator's step and a generator's."""
    judges, (real, noise) = adversary(), sounds()
    found = judges(real, noise)
    wrong = caught = features = 0.0
    for judge in judges.judges:
        (on_real, seen), (on_noise, made) = judge(real), judge(noise)
        wrong += ((1 - on_real) ** 2).mean() + (on_noise**2).mean()
        caught += ((1 - on_noise) ** 2).mean()
        features += sum((a - b).abs().mean() for a, b in zip(seen, made, strict=True))
    assert torch.allclose(
        torch.stack([found.discriminator_loss, found.generator_loss, found.feature_loss]),
        torch.stack([wrong, caught, features]),
    )


def test_real_against_itself_has_nothing_to_match():
    real, _ = sounds()
    assert adversary()(real, real.clone()).feature_loss.item() < 1e-5


@pytest.mark.parametrize(
    "config", [DiscriminatorConfig(4, (3,), ()), DiscriminatorConfig(8, (), (256,))], ids=["period", "spectrum"]
)
def test_it_learns_to_tell_noise_from_speech(config):
    judges, (real, noise) = adversary(config), sounds(samples=2000)
    optimiser = torch.optim.AdamW(judges.parameters(), 5e-3)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        found = judges(4 * real, 4 * noise)  # loud, so that it learns in seconds
        found.discriminator_loss.backward()
        optimiser.step()
        losses.append(found.discriminator_loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert found.generator_loss.item() > 0.5  # 0.25 where it cannot tell


@pytest.mark.parametrize("samples", [3999, 4000, 4003])
def test_any_length_is_judged(samples):
    real, noise = sounds()
    found = adversary()(real[:, :samples], noise[:, :samples])
    assert all(torch.isfinite(loss) for loss in (found.discriminator_loss, found.generator_loss, found.feature_loss))


def test_half_the_amplitude_is_ln_2_away_on_the_mel_scale():
    tone = torch.sin(torch.arange(RATE) * 0.3)[None]
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
    assert float(mel_distance(noise, noise / 2, RATE)) == pytest.approx(0.693, abs=1e-3)
    assert float(mel_distance(tone, tone, RATE)) == 0
    assert float(mel_distance(noise, tone, RATE)) > 1


def test_the_full_size_is_that_of_hifigan():
    sizes = [p.numel() for judge in DiscriminatorConfig().build().judges for p in judge.parameters()]
    assert sum(sizes) == pytest.approx(41.4e6, rel=0.01)  # 8.2 M each of 5 periods, 0.1 M each of 3 resolutions
