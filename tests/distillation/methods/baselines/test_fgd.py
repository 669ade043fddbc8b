"""FGD against plain loops."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from meddet_d2.distillation.methods import FGD
from meddet_d2.distillation.methods.baselines.fgd import GlobalContext

TERMS = ("loss_foreground", "loss_background", "loss_attention", "loss_relation")
WEIGHTS = (1e-3, 5e-4, 5e-4, 5e-6)


def build(student, *teachers, **changes):
    arguments = {
        "strides": (8, 16),
        "temperature": 0.5,
        **dict(zip(("alpha", "beta", "gamma", "lambda_"), WEIGHTS, strict=True)),
        "dist_schedule": "constant",
        **changes,
    }
    return FGD(student_channels=[student] * 2, teacher_channels=[[c] * 2 for c in teachers], **arguments).double()


def stir(method):
    """Give the last convolutions of the contexts values, as after some training: at the start they add nothing."""
    for module in method.modules():
        if isinstance(module, GlobalContext):
            nn.init.normal_(module.transform[-1].weight)
            nn.init.normal_(module.transform[1].weight)
    return method


def slow_softmax(values):
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def slow_attentions(image, temperature):
    """Of one image, C planes: A by row and column, A by channel."""
    channels, height, width = len(image), len(image[0]), len(image[0][0])
    cells = [(y, x) for y in range(height) for x in range(width)]
    spatial = slow_softmax([sum(abs(p[y][x]) for p in image) / channels / temperature for y, x in cells])
    channel = slow_softmax([sum(abs(p[y][x]) for y, x in cells) / len(cells) / temperature for p in image])
    return {cell: len(cells) * a for cell, a in zip(cells, spatial, strict=True)}, [channels * a for a in channel]


def slow_masks(boxes, stride, height, width):
    foreground = {(y, x): 0.0 for y in range(height) for x in range(width)}
    for x0, y0, x1, y1 in boxes:
        left, right = math.floor(x0 / stride), math.ceil(x1 / stride)
        top, bottom = math.floor(y0 / stride), math.ceil(y1 / stride)
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                if (y, x) in foreground:
                    weight = 1 / ((bottom + 1 - top) * (right + 1 - left))
                    foreground[y, x] = max(foreground[y, x], weight)
    outside = [cell for cell, weight in foreground.items() if weight == 0]
    return foreground, {cell: 1 / len(outside) if cell in outside else 0.0 for cell in foreground}


def slow_context(module, image):
    channels, height, width = len(image), len(image[0]), len(image[0][0])
    cells = [(y, x) for y in range(height) for x in range(width)]
    where, bias = module.where.weight.flatten().tolist(), module.where.bias.item()
    weights = slow_softmax([bias + sum(where[c] * image[c][y][x] for c in range(channels)) for y, x in cells])
    context = [sum(w * plane[y][x] for w, (y, x) in zip(weights, cells, strict=True)) for plane in image]
    first, norm, _, last = module.transform
    hidden = [
        b + sum(w * v for w, v in zip(row, context, strict=True))
        for row, b in zip(first.weight[:, :, 0, 0].tolist(), first.bias.tolist(), strict=True)
    ]
    mean = sum(hidden) / len(hidden)
    deviation = math.sqrt(sum((h - mean) ** 2 for h in hidden) / len(hidden) + norm.eps)
    scale, shift = norm.weight.flatten().tolist(), norm.bias.flatten().tolist()
    hidden = [max((h - mean) / deviation * s + b, 0.0) for h, s, b in zip(hidden, scale, shift, strict=True)]
    added = [
        b + sum(w * h for w, h in zip(row, hidden, strict=True))
        for row, b in zip(last.weight[:, :, 0, 0].tolist(), last.bias.tolist(), strict=True)
    ]
    return [[[v + a for v in row] for row in plane] for plane, a in zip(image, added, strict=True)]


def slow_terms(student, teacher, boxes, stride, contexts):
    """The four sums of one level over two images, divided by two, before their weights."""
    terms = [0.0] * 4
    for ours, theirs, image_boxes in zip(student.tolist(), teacher.tolist(), boxes, strict=True):
        height, width = len(ours[0]), len(ours[0][0])
        (our_where, our_what), (where, what) = slow_attentions(ours, 0.5), slow_attentions(theirs, 0.5)
        foreground, background = slow_masks(image_boxes, stride, height, width)
        related = slow_context(contexts[0], ours), slow_context(contexts[1], theirs)
        for c in range(len(ours)):
            terms[2] += abs(our_what[c] - what[c])
            for y, x in foreground:
                squared = (theirs[c][y][x] - ours[c][y][x]) ** 2 * where[y, x] * what[c]
                terms[0] += foreground[y, x] * squared
                terms[1] += background[y, x] * squared
                terms[3] += (related[0][c][y][x] - related[1][c][y][x]) ** 2
        terms[2] += sum(abs(our_where[cell] - where[cell]) for cell in foreground)
    return [term / len(student) for term in terms]


@pytest.mark.parametrize("teachers", [(4,), (6,), (6, 4, 4)])
def test_equals_plain_loops(map_batch, teachers):
    batch = map_batch(4, *teachers, losses={"loss_qfl": torch.tensor(7.0)})
    method = stir(build(4, *teachers))
    truth = batch.targets
    boxes = [rows[there].tolist() for rows, there in zip(truth.boxes, truth.present, strict=True)]
    expected = [0.0] * 4
    for k, maps in enumerate(x.features for x in batch.teachers):
        for level, stride in enumerate((8, 16)):
            student = method.alignment[k][level](batch.student.features[level]).detach()
            contexts = method.student_context[k][level], method.teacher_context[k][level]
            terms = slow_terms(student, maps[level], boxes, stride, contexts)
            expected = [a + b / len(teachers) for a, b in zip(expected, terms, strict=True)]
    losses = method(batch)
    assert list(losses) == ["loss_qfl", *TERMS]
    for name, weight, value in zip(TERMS, WEIGHTS, expected, strict=True):
        assert losses[name].item() == pytest.approx(weight * value, rel=1e-10), name
        assert value > 0.01


def test_equal_maps_cost_nothing_under_equal_contexts(map_batch):
    batch, method = map_batch(4, 4), stir(build(4, 4))
    method.teacher_context.load_state_dict(method.student_context.state_dict())
    equal = map_batch(4, 4, student=batch.student.features, teachers=[[x.detach() for x in batch.student.features]])
    assert [method(equal)[name].item() for name in TERMS] == [0, 0, 0, 0]
    # Contexts add nothing at the start, so they are equal then.
    assert [build(4, 4)(equal)[name].item() for name in TERMS] == [0, 0, 0, 0]
    method = stir(build(4, 4))
    assert method(equal)["loss_relation"].item() > 0


def test_who_learns_with_and_without_boxes(map_batch):
    without = replace(truth := map_batch(4, 4).targets, present=torch.zeros_like(truth.present))
    for changes in ({}, {"targets": without}):
        batch, method = map_batch(4, 6, 4, **changes), build(4, 6, 4)
        losses = method(batch)
        assert (losses["loss_foreground"].item() > 0) == (not changes)
        assert all(losses[name].item() > 0 for name in TERMS[1:])
        sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
        assert all(x.grad.isfinite().all() and x.grad.abs().sum() > 0 for x in batch.student.features)
        assert not any(x.requires_grad for shown in batch.teachers for x in shown.features)


def test_only_other_channels_are_aligned():
    method = build(4, 4, 6)
    assert [type(a) for a in method.alignment[0]] == [nn.Identity] * 2
    assert [a.weight.shape for a in method.alignment[1]] == [(6, 4, 1, 1)] * 2


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"alpha": -1.0}, r"DISTILL\.FGD\.ALPHA is -1\.0; it must be at least 0"),
        ({"beta": -1.0}, r"DISTILL\.FGD\.BETA"),
        ({"gamma": -1.0}, r"DISTILL\.FGD\.GAMMA"),
        ({"lambda_": -1.0}, r"DISTILL\.FGD\.LAMBDA is"),
        ({"temperature": 0.0}, r"DISTILL\.FGD\.TEMPERATURE is 0\.0; it must be greater than 0"),
        ({"dist_schedule": "step"}, r"DISTILL\.DIST_SCHEDULE is 'step'"),
    ],
)
def test_bad_settings_are_one_line_with_their_key(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        build(4, 4, **changes)
    assert "\n" not in str(error.value)


def test_maps_of_different_size_are_refused(map_batch):
    batch = map_batch(4, 4)
    smaller = map_batch(4, 4, teachers=[[x[..., 1:] for x in shown.features] for shown in batch.teachers])
    with pytest.raises(ValueError, match="map of the student is 8x6 and the teacher's 8x5"):
        build(4, 4)(smaller)
