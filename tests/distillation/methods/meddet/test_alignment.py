"""AFA, equation 6."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from meddet_d2.distillation.methods.meddet.alignment import AdaptiveFeatureAlignment


def test_equal_channels_and_size_start_as_the_identity():
    x = torch.randn(2, 5, 6, 4)
    assert torch.equal(AdaptiveFeatureAlignment(in_channels=5, out_channels=5)(x, (6, 4)), x)


@pytest.mark.parametrize("in_channels, out_channels", [(4, 9), (9, 4)])
def test_other_channels_start_orthonormal(in_channels, out_channels):
    weight = AdaptiveFeatureAlignment(in_channels=in_channels, out_channels=out_channels).conv.weight[:, :, 0, 0]
    gram = weight @ weight.T if out_channels < in_channels else weight.T @ weight
    torch.testing.assert_close(gram, torch.eye(min(in_channels, out_channels)))


def test_it_is_the_convolution_and_then_the_adaptive_maximum():
    align, x = AdaptiveFeatureAlignment(in_channels=3, out_channels=5), torch.randn(2, 3, 9, 7)
    expected = F.adaptive_max_pool2d(torch.einsum("oi,nihw->nohw", align.conv.weight[:, :, 0, 0], x), (4, 3))
    torch.testing.assert_close(align(x, (4, 3)), expected)
    assert align(x, (18, 14)).shape == (2, 5, 18, 14)


@pytest.mark.parametrize("size", [(4, 4), (2, 3)])
def test_gradient(size):
    align = AdaptiveFeatureAlignment(in_channels=2, out_channels=3).double()
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, *_: align(x, size), (x, *align.parameters()))
