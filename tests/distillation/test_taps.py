"""FeatureTap."""

import pytest
import torch
from torch import nn

from meddet_d2.distillation import FeatureTap


def test_a_tap_keeps_the_very_output_and_gives_it_once():
    module = nn.Linear(2, 2)
    with FeatureTap(module) as tap:
        module(torch.ones(1, 2))
        output = module(torch.zeros(1, 2))
    assert tap.take() is output
    with pytest.raises(RuntimeError, match="has not run"):
        tap.take()


def test_a_tap_leaves_no_hook_behind_even_after_an_error():
    module = nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), FeatureTap(module):
        raise ZeroDivisionError
    assert not module._forward_hooks
