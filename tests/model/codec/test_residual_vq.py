"""Residual vector quantization: known answers, gradients, and codebook training."""

from __future__ import annotations

import pytest
import torch

from reference_model.codec.residual_vq import CodebookLearning, ResidualVQ, k_means, nearest

CORNERS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def rvq():
    """Corners of a square; then steps of a tenth to the right, to the left, upwards, or none."""
    vq = ResidualVQ(2, 4, 2)
    vq.codebooks.copy_(torch.stack([CORNERS, torch.tensor([[0.1, 0.0], [-0.1, 0.0], [0.0, 0.1], [0.0, 0.0]])]))
    return vq


def latents(*vectors):
    """[1, D, F]"""
    return torch.tensor(vectors).T[None]


def test_nearest_rows():
    vectors = torch.tensor([[0.2, 0.1], [0.9, -3.0], [0.6, 0.7]])
    assert nearest(vectors, CORNERS).tolist() == [0, 1, 3]
    assert nearest(torch.tensor([0.5, 0.5]), CORNERS) == 0  # the first of equals


def test_each_codebook_codes_what_is_left_over(rvq):
    codes = rvq.encode(latents([0.09, 0.0], [0.91, 0.98], [0.0, 1.12]))
    assert codes.tolist() == [[[0, 3, 2], [0, 1, 2]]]
    torch.testing.assert_close(rvq.decode(codes), latents([0.1, 0.0], [0.9, 1.0], [0.0, 1.1]))
    torch.testing.assert_close(rvq.decode(codes[:, :1]), latents([0.0, 0.0], [1.0, 1.0], [0.0, 1.0]))


def test_training_gives_the_quantized_values_and_straight_gradients(rvq):
    x = latents([0.09, 0.02], [0.91, 0.98]).requires_grad_()
    made = rvq(x)
    torch.testing.assert_close(made.values, rvq.decode(rvq.encode(x)))
    assert torch.equal(made.codes, rvq.encode(x))
    (made.values * torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))


def test_the_commitment_loss_pulls_latents_to_their_rows(rvq):
    x = latents([0.3, 0.0]).requires_grad_()
    made = rvq(x)
    assert made.codes.tolist() == [[[0], [0]]]
    # level 0: 0.3 from 0 to the row; level 1: 0.3 and the row 0.1; the mean of both levels' two dimensions
    torch.testing.assert_close(made.commitment, torch.tensor((0.3**2 + 0.2**2) / 4))
    made.commitment.backward()
    torch.testing.assert_close(x.grad, latents([2 * (0.3 + 0.2) / 4, 0.0]))


def test_rows_follow_the_average_of_what_they_are_used_for():
    vq = ResidualVQ(1, 4, 2)
    vq.codebooks.copy_(CORNERS[None])
    vq.counts.fill_(2.0)
    vq.follow(vq(latents([0.2, 0.0], [0.4, 0.0])), generator(), CodebookLearning(decay=0.5, dead_below=0.0))
    assert vq.counts.tolist() == [[2.0, 1.0, 1.0, 1.0]]
    torch.testing.assert_close(vq.codebooks[0, 0], torch.tensor([0.15, 0.0]))  # (2 * 0.5 * 0 + 0.5 * 0.6) / 2
    torch.testing.assert_close(vq.codebooks[0, 1:], CORNERS[1:])


def test_unused_rows_are_set_to_vectors_of_the_batch():
    vq = ResidualVQ(1, 4, 2)
    vq.codebooks.copy_(CORNERS[None])
    vq.counts.copy_(torch.tensor([[5.0, 0.1, 5.0, 0.1]]))
    x = latents([0.2, 0.1], [0.3, 0.1])
    vq.follow(vq(x), generator(), CodebookLearning(dead_below=0.5))
    found = {tuple(row) for row in vq.codebooks[0, [1, 3]].tolist()}
    assert found == {tuple(row) for row in x[0].T.tolist()}
    assert vq.counts[0, [1, 3]].tolist() == [1.0, 1.0]


def test_k_means_finds_clusters():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    vectors = (centres[:, None] + torch.randn(3, 50, 2, generator=generator()) * 0.1).flatten(0, 1)
    found = k_means(vectors, 12, 20, generator(1))
    assert float(torch.cdist(vectors, found).min(-1).values.max()) < 0.5
    assert bool(torch.isfinite(found).all())


def test_a_first_batch_starts_every_level():
    x = torch.randn(4, 8, 100, generator=generator())
    vq = ResidualVQ(3, 32, 8)
    vq.start(x, generator())
    errors = [float((vq.decode(vq.encode(x)[:, :levels]) - x).square().mean()) for levels in (1, 2, 3)]
    assert errors[0] < 0.75
    assert errors[0] > errors[1] > errors[2]
    assert vq.counts.sum(-1).tolist() == [400.0] * 3


def test_learning_depends_on_the_generator_alone():
    def learnt(seed):
        vq = ResidualVQ(2, 16, 4)
        x = torch.randn(2, 4, 50, generator=generator(9))
        vq.start(x, generator(seed))
        for _ in range(3):
            vq.follow(vq(x), generator(seed))
        return vq.codebooks

    assert torch.equal(learnt(1), learnt(1))
    assert not torch.equal(learnt(1), learnt(2))


def test_codebooks_may_be_narrower_than_the_latents():
    vq = ResidualVQ(2, 16, 8, 3)
    x = torch.randn(2, 8, 5).requires_grad_()
    made = vq(x)
    assert vq.codebooks.shape == (2, 16, 3)
    assert made.values.shape == x.shape
    made.values.square().mean().backward()
    assert float(x.grad.abs().sum()) > 0
    torch.testing.assert_close(made.values, vq.decode(made.codes))


def test_fewer_vectors_than_rows_start_a_codebook():
    vq = ResidualVQ(1, 8, 2)
    vq.start(torch.randn(1, 2, 3), generator())
    assert torch.isfinite(vq.codebooks).all()
