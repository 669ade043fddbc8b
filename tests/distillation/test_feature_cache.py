"""FeatureCache: what it hands out, what it does not ask for again, and where it stops."""

import pytest
import torch

from meddet_d2.distillation import TeacherBank
from meddet_d2.distillation.feature_cache import FeatureCache, digest


class Network:
    """Two levels of maps that name the image they are of; counts the images it was shown."""

    def __init__(self):
        self.shown = []

    def __call__(self, images):
        self.shown.append(len(images))
        return [images.mean(dim=1, keepdim=True), images[:, :2, ::2, ::2]]


def pictures(*values):
    return torch.stack([torch.full((3, 4, 4), float(value)) for value in values])


def digests(images):
    return [digest(image) for image in images]


def test_only_new_images_are_shown_and_the_order_is_the_batch_s():
    cache, network = FeatureCache(10**6), Network()
    for values, new in (((1, 2), 2), ((3, 1, 2), 1), ((2, 3), 0), ((4, 4), 1)):
        images = pictures(*values)
        before = sum(network.shown)
        found = cache(digests(images), images, network)
        assert sum(network.shown) - before == new
        for one, expected in zip(found, Network()(images), strict=True):
            assert torch.equal(one, expected)
    assert len(cache) == 4 and cache.misses == 4 and cache.hits == 5


def test_the_same_image_in_another_padding_is_another_image():
    cache, network = FeatureCache(10**6), Network()
    image = pictures(1)
    cache(digests(image), image, network)
    padded = torch.nn.functional.pad(image, (0, 4, 0, 4))
    found = cache(digests(image), padded, network)
    assert found[0].shape[-2:] == (8, 8) and network.shown == [1, 1]


def test_a_full_memory_keeps_what_it_has_and_stays_right():
    one = sum(x.numel() * x.element_size() for x in Network()(pictures(1)))
    cache, network = FeatureCache(2 * one), Network()
    images = pictures(1, 2, 3)
    for _ in range(2):
        assert torch.equal(cache(digests(images), images, network)[0], Network()(images)[0])
    assert len(cache) == 2 and cache.size == 2 * one and network.shown == [1, 1, 1, 1]


def test_what_is_handed_out_can_be_changed_without_harm():
    cache, network = FeatureCache(10**6), Network()
    images = pictures(1)
    for _ in range(2):
        found = cache(digests(images), images, network)[0]
        assert found.eq(1).all()
        found.zero_()


def test_a_digest_tells_values_sizes_and_types_apart():
    images = [
        torch.zeros(3, 4, 4, dtype=torch.uint8),
        torch.zeros(3, 2, 8, dtype=torch.uint8),
        torch.zeros(3, 4, 1, dtype=torch.int32),
        torch.eye(4, dtype=torch.uint8).expand(3, 4, 4),
    ]
    assert len({digest(image) for image in images}) == 4
    # A view of other strides is the same image.
    assert digest(images[3]) == digest(images[3].contiguous())


def test_a_bank_with_a_cache_gives_the_maps_of_one_without(trained_bank, batch):
    bank = TeacherBank(trained_bank.detectors, trained_bank.names, cache=2**20)
    inputs = batch()
    expected = trained_bank.features(inputs)
    for _ in range(2):
        for maps, wanted in zip(bank.features(inputs), expected, strict=True):
            for x, y in zip(maps, wanted, strict=True):
                torch.testing.assert_close(x, y)
    assert [cache.hits for cache in bank.caches] == [len(inputs)] * len(bank.detectors)
    # An augmented image is not the image.
    changed = [dict(one, image=one["image"] + 1) for one in inputs]
    assert not torch.equal(bank.features(changed)[0][0], expected[0][0])


def test_a_negative_capacity_is_refused(detector):
    with pytest.raises(ValueError, match="-1 bytes"):
        FeatureCache(-1)
