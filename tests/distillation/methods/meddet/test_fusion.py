"""AFA (equation 6); LWFF (equations 7-11), Concat and Sum."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from meddet_d2.distillation import FUSION_REGISTRY, build_fusion
from meddet_d2.distillation.methods.meddet.fusion import ACTIVATIONS


def make(name="LWFF", activation="sigmoid", lead=1, channels=4, start="lead") -> nn.Module:
    return build_fusion(name, channels=channels, num_teachers=3, activation=activation, lead=lead, start=start)


def maps(channels=4, **options) -> list[torch.Tensor]:
    return [torch.randn(2, channels, 5, 3, **options) for _ in range(3)]


def shake(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["LWFF", "Concat"])
@pytest.mark.parametrize("lead", [0, 2])
def test_a_fusion_starts_as_the_lead_teachers_map(name, activation, lead):
    features = maps()
    torch.testing.assert_close(make(name, activation, lead)(features), features[lead], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["LWFF", "Concat", "Sum"])
def test_a_fusion_starts_as_the_mean_of_the_maps(name, activation):
    features = maps()
    fused = make(name, activation, start="mean")(features)
    torch.testing.assert_close(fused, make("Sum")(features), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(fused, torch.stack(features).mean(dim=0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_lwff_is_equations_7_to_11(activation):
    lwff, features = shake(make(activation=activation)), maps()
    pairs = zip(lwff.weights, features, strict=True)
    logits = [conv.weight[:, :, 0, 0] @ x.mean((2, 3)).T + conv.bias[:, None] for conv, x in pairs]
    if activation == "softmax":
        alphas = [logit.exp() / sum(other.exp() for other in logits) for logit in logits]
    else:
        alphas = [1 / (1 + (-logit).exp()) if activation == "sigmoid" else logit for logit in logits]
    stacked = torch.cat([alpha.T[:, :, None, None] * x for alpha, x in zip(alphas, features, strict=True)], dim=1)
    expected = torch.einsum("oi,nihw->nohw", lwff.mix.weight[:, :, 0, 0], stacked) + lwff.mix.bias[:, None, None]
    torch.testing.assert_close(lwff(features), expected)


def test_softmax_shares_each_channel_among_the_teachers():
    alphas = shake(make(activation="softmax")).alphas(maps())
    torch.testing.assert_close(alphas.sum(dim=0), torch.ones_like(alphas[0]))


def test_sum_keeps_one_teachers_scale_and_has_nothing_to_learn():
    x = torch.randn(2, 4, 5, 3)
    torch.testing.assert_close(make("Sum")([x, x, x]), x)
    assert not list(make("Sum").parameters())


@pytest.mark.parametrize("name, activation", [("Concat", "none"), *(("LWFF", kind) for kind in ACTIVATIONS)])
def test_every_parameter_learns_from_the_first_two_steps(name, activation):
    # The other teachers' blocks start at zero, so their channel weights move in the second step.
    fusion = make(name, activation)
    before = [parameter.clone() for parameter in fusion.parameters()]
    optimizer = torch.optim.SGD(fusion.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (fusion(maps()) - 1).square().mean().backward()
        optimizer.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, fusion.parameters(), strict=True))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient(activation):
    lwff = shake(make(activation=activation, channels=2)).double()
    features = [torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert gradcheck(lambda a, b, c, *_: lwff([a, b, c]), (*features, *lwff.parameters()))


def test_bad_settings_name_their_key_and_what_is_known():
    assert {name for name, _ in FUSION_REGISTRY} >= {"LWFF", "Sum", "Concat"}
    with pytest.raises(ValueError, match=r"MEDDET\.FUSION\.NAME is 'Mean'; it must be one of: Concat, LWFF, Sum"):
        make("Mean")
    with pytest.raises(ValueError, match=r"DISTILL\.MEDDET\.FUSION\.ACTIVATION is 'relu'.*sigmoid, softmax, none"):
        make(activation="relu")
    with pytest.raises(ValueError, match=r"DISTILL\.MEDDET\.FUSION\.LEAD_TEACHER is 3; there are 3 teachers"):
        make(lead=3)
    with pytest.raises(ValueError, match=r"DISTILL\.MEDDET\.FUSION\.START is 'best'; it must be one of: lead, mean"):
        make(start="best")
