"""MGD against plain loops.

It is not zero where the teacher equals the student: its block has to make the whole map from a half-hidden one.
"""

import pytest
import torch
from torch import nn

from meddet_d2.distillation.methods import MGD


def build(student, *teachers, **changes):
    arguments = {"alpha": 2e-5, "drop": 0.65, "dist_schedule": "constant", **changes}
    method = MGD(student_channels=[student] * 2, teacher_channels=[[c] * 2 for c in teachers], **arguments)
    return method.double()


def slow_conv(conv: nn.Conv2d, image):
    """A convolution of stride 1 that keeps the size, of one image: C1 planes -> C2 planes."""
    weight, bias, pad = conv.weight.tolist(), conv.bias.tolist(), conv.kernel_size[0] // 2
    height, width = len(image[0]), len(image[0][0])
    planes = []
    for c in range(conv.out_channels):
        plane = [[bias[c]] * width for _ in range(height)]
        for y in range(height):
            for x in range(width):
                for i in range(conv.in_channels):
                    for dy in range(-pad, pad + 1):
                        for dx in range(-pad, pad + 1):
                            if 0 <= y + dy < height and 0 <= x + dx < width:
                                plane[y][x] += weight[c][i][dy + pad][dx + pad] * image[i][y + dy][x + dx]
        planes.append(plane)
    return planes


def slow_sum_of_squares(align, generator, student, teacher, hidden):
    """Of one level; ``hidden(n, y, x)`` says which cells the student's map lost."""
    total = 0.0
    for n, (image, target) in enumerate(zip(student.tolist(), teacher.tolist(), strict=True)):
        image = image if isinstance(align, nn.Identity) else slow_conv(align, image)
        image = [
            [[0.0 if hidden[n][0][y][x] else v for x, v in enumerate(row)] for y, row in enumerate(plane)]
            for plane in image
        ]
        middle = [[[max(v, 0.0) for v in row] for row in plane] for plane in slow_conv(generator.layers[0], image)]
        made = slow_conv(generator.layers[2], middle)
        for plane, expected in zip(made, target, strict=True):
            for row, values in zip(plane, expected, strict=True):
                total += sum((a - b) ** 2 for a, b in zip(row, values, strict=True))
    return total / len(student)


@pytest.mark.parametrize("teachers", [(4,), (3,), (4, 3, 3)])
def test_equals_plain_loops(map_batch, teachers):
    batch, method = map_batch(3, *teachers), build(3, *teachers)
    torch.manual_seed(5)
    loss = method(batch)["loss_dist"].item()
    # The same draws again: a cell is hidden where the uniform number is below 0.65.
    torch.manual_seed(5)
    expected = 0.0
    for k, maps in enumerate(x.features for x in batch.teachers):
        for level, (student, teacher) in enumerate(zip(batch.student.features, maps, strict=True)):
            hidden = (torch.rand(2, 1, *student.shape[-2:]) < 0.65).tolist()
            modules = method.alignment[k][level], method.generation[k][level]
            expected += slow_sum_of_squares(*modules, student, teacher, hidden)
    assert loss == pytest.approx(2e-5 * expected / len(teachers), rel=1e-10)


def test_what_is_hidden_is_whole_cells_at_the_published_rate():
    feature = torch.ones(4, 3, 64, 64)
    seen = build(3, 3).hide(feature)
    assert set(seen.unique().tolist()) == {0.0, 1.0}, "what stays keeps its value"
    assert torch.equal(seen, seen[:, :1].expand_as(seen)), "all channels of a cell"
    assert 1 - seen.mean().item() == pytest.approx(0.65, abs=0.02)
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(build(3, 3, drop=0.0).hide(feature), feature)


def test_only_other_channels_are_aligned_and_each_teacher_has_its_own():
    method = build(3, 3, 5)
    assert [type(a) for a in method.alignment[0]] == [nn.Identity] * 2
    assert [a.weight.shape for a in method.alignment[1]] == [(5, 3, 1, 1)] * 2
    assert [[g.layers[0].in_channels for g in levels] for levels in method.generation] == [[3, 3], [5, 5]]


def test_who_learns(map_batch):
    # Also where all of a small map is hidden.
    for drop in (0.65, 1 - 1e-9):
        batch, method = map_batch(3, 5, 3), build(3, 5, 3, drop=drop)
        method(batch)["loss_dist"].backward()
        assert all(p.grad is not None for p in method.parameters())
        assert all(x.grad is not None for x in batch.student.features)
        assert (batch.student.features[0].grad.abs().sum() > 0) == (drop < 0.9)
    assert not any(x.requires_grad for shown in batch.teachers for x in shown.features)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"alpha": -1.0}, r"DISTILL\.MGD\.ALPHA is -1\.0; it must be at least 0"),
        ({"drop": 1.0}, r"DISTILL\.MGD\.DROP is 1\.0; it must be a probability"),
        ({"drop": -0.1}, r"DISTILL\.MGD\.DROP is -0\.1"),
        ({"dist_schedule": "step"}, r"DISTILL\.DIST_SCHEDULE is 'step'"),
    ],
)
def test_bad_settings_are_one_line_with_their_key(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        build(3, 3, **changes)
    assert "\n" not in str(error.value)


def test_maps_of_different_size_are_refused(map_batch):
    batch = map_batch(3, 3)
    smaller = map_batch(3, 3, teachers=[[x[..., 1:] for x in shown.features] for shown in batch.teachers])
    with pytest.raises(ValueError, match="map of the student is 8x6 and the teacher's 8x5"):
        build(3, 3)(smaller)
