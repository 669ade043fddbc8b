"""Generator, discriminator and their losses."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from meddet_d2.distillation.methods.meddet.adversarial import (
    Discriminator,
    Generator,
    discriminator_loss,
    frozen_call,
    generator_loss,
    standardized_pool,
)


def judge(discriminator, maps):
    return discriminator(discriminator.describe(maps))


def test_generator_gradient():
    generator = Generator(channels=2).double()
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, *_: generator(x), (x, *generator.parameters()))


def standardize(x):
    """Value by value."""
    return torch.stack(
        [torch.stack([(c - c.mean()) / (c.var(correction=0) + 1e-5).sqrt() for c in image]) for image in x]
    )


@pytest.mark.parametrize("size", [(8, 8), (6, 5), (3, 2), (1, 1)])
def test_standardized_pool_is_the_pool_of_the_standardized_map(size):
    x = torch.randn(3, 2, *size, dtype=torch.float64) * 50 + 1000
    expected = torch.nn.functional.adaptive_avg_pool2d(standardize(x), 4)
    torch.testing.assert_close(standardized_pool(x, 4), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(standardized_pool(x.float(), 4).double(), expected, rtol=0, atol=1e-3)


def test_standardized_pool_takes_scale_and_shift_out_and_has_a_gradient():
    x = torch.randn(3, 2, 6, 5) * 50 + 1000
    torch.testing.assert_close(standardized_pool(x / 10 - 3, 4), standardized_pool(x, 4), atol=1e-3, rtol=0)
    assert torch.equal(standardized_pool(torch.full((1, 1, 2, 2), 7.0), 4), torch.zeros(1, 1, 4, 4))
    maps = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: standardized_pool(x, 2), maps)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 40)])
def test_discriminator_takes_any_size(size):
    logits = judge(Discriminator(channels=[6, 3]), [torch.randn(2, 6, *size), torch.randn(2, 3, *size)])
    assert [tuple(x.shape) for x in logits] == [(2, 1), (2, 1)]


def test_discriminator_has_three_layers_a_level():
    parameters = sum(p.numel() for p in Discriminator(channels=[256] * 5).parameters())
    assert parameters == 5 * ((4096 + 1) * 256 + (256 + 1) * 64 + 64 + 1)


def test_only_standardisation_hides_the_scale():
    x = torch.randn(2, 3, 8, 8)
    blind, seeing = (Discriminator(channels=[3], standardize=flag) for flag in (True, False))
    torch.testing.assert_close(judge(blind, [x])[0], judge(blind, [9 * x + 4])[0], atol=1e-4, rtol=1e-4)
    assert (judge(seeing, [x])[0] - judge(seeing, [9 * x + 4])[0]).abs().max() > 0.05


def test_frozen_call_gives_the_same_logits_and_no_gradient_to_the_parameters():
    discriminator, x = Discriminator(channels=[3]), torch.randn(2, 3, 8, 8, requires_grad=True)
    logits = frozen_call(discriminator, discriminator.describe([x]))[0]
    torch.testing.assert_close(logits, judge(discriminator, [x])[0])
    logits.sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None and p.requires_grad for p in discriminator.parameters())


def test_losses_at_known_logits():
    zero, sure = torch.zeros(3, 1), torch.full((3, 1), 4.0)
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(sure, -sure).item() == pytest.approx(2 * math.log1p(math.exp(-4)), rel=1e-5)
    # Smoothing: least at the logit of 0.9, not at infinity.
    best = torch.full((3, 1), math.log(9.0))
    assert discriminator_loss(best, -sure, 0.9) < discriminator_loss(2 * best, -sure, 0.9)
    assert generator_loss(zero).item() == pytest.approx(math.log(2))
    assert generator_loss(zero, "minimax").item() == pytest.approx(-math.log(2))
    with pytest.raises(ValueError, match=r"DISTILL\.MEDDET\.AATM\.GENERATOR_LOSS is 'hinge'.*non_saturating, minimax"):
        generator_loss(zero, "hinge")


def test_both_generator_losses_ask_for_real_and_only_one_still_does_when_the_discriminator_is_sure():
    slopes = {}
    for kind in ("non_saturating", "minimax"):
        z = torch.full((1, 1), -9.0, requires_grad=True)
        generator_loss(z, kind).backward()
        slopes[kind] = z.grad.item()
    assert slopes["non_saturating"] == pytest.approx(-1, abs=1e-3)
    assert -1e-3 < slopes["minimax"] < 0


def test_the_discriminator_learns_to_tell_apart_and_stays_undecided_where_there_is_nothing_to_tell():
    def accuracy_and_loss(draw_fake):
        torch.manual_seed(1)
        discriminator = Discriminator(channels=[8], hidden=(32, 16))
        optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
        for _ in range(120):
            real, fake = judge(discriminator, [torch.cat([draw_real(), draw_fake()])])[0].chunk(2)
            loss = discriminator_loss(real, fake)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            real, fake = judge(discriminator, [draw_real()])[0], judge(discriminator, [draw_fake()])[0]
        correct = torch.cat([real > 0, fake <= 0]).float().mean().item()
        return correct, discriminator_loss(real, fake).item()

    # Real maps rise from left to right.
    def draw_real():
        return torch.randn(64, 8, 8, 8) + torch.linspace(-1, 1, 8)

    accuracy, loss = accuracy_and_loss(lambda: torch.randn(64, 8, 8, 8))
    assert accuracy > 0.95 and loss < 0.3
    accuracy, loss = accuracy_and_loss(draw_real)
    assert 0.3 < accuracy < 0.7 and loss > 1.2


def test_bad_settings_name_their_key():
    with pytest.raises(ValueError, match=r"DISTILL\.MEDDET\.AATM\.HIDDEN is \(8,\)"):
        Discriminator(channels=[3], hidden=(8,))
    with pytest.raises(ValueError, match=r"DISTILL\.MEDDET\.AATM\.POOL is 0"):
        Discriminator(channels=[3], pool=0)
