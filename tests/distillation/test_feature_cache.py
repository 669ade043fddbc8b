"""FeatureCache: what it hands out, what it does not ask for again, and where it stops."""

import pytest
import torch

from meddet_d2.distillation import TASK_REGISTRY, TeacherBank
from meddet_d2.distillation.feature_cache import FeatureCache, digest
from meddet_d2.distillation.tasks import BoxesGFL


class Network:
    """Two levels of maps that name the image they are of; counts the images it was shown."""

    def __init__(self):
        self.shown = 0

    def __call__(self, view):
        self.shown += 1
        images = view["image"][None]
        return [images.mean(dim=1, keepdim=True), images[:, :2, ::2, ::2]]


def pictures(*values):
    return [{"image": torch.full((3, 4, 4), float(value))} for value in values]


def shown_at_once(views):
    return [torch.cat(level) for level in zip(*map(Network(), views), strict=True)]


def test_only_new_images_are_shown_and_the_order_is_the_batch_s():
    cache, network = FeatureCache(10**6), Network()
    for values, new in (((1, 2), 2), ((3, 1, 2), 1), ((2, 3), 0), ((4, 4), 1)):
        views = pictures(*values)
        before = network.shown
        found = cache(views, network)
        assert network.shown - before == new
        for one, expected in zip(found, shown_at_once(views), strict=True):
            assert torch.equal(one, expected)
    assert len(cache) == 4 and cache.misses == 4 and cache.hits == 5


@pytest.mark.parametrize("other", [{"padded_size": (8, 8)}, {"frames": [torch.zeros(2)]}, {"spacing": 0.5}])
def test_what_differs_in_anything_is_another_input(other):
    cache, network = FeatureCache(10**6), Network()
    (view,) = pictures(1)
    for one in (view, {**view, **other}, view):
        cache([one], network)
    assert network.shown == 2
    cache([view], network, settings=(2,))
    assert network.shown == 3


def test_a_full_memory_keeps_what_it_has_and_stays_right():
    views = pictures(1, 2, 3)
    one = sum(x.numel() * x.element_size() for x in shown_at_once(views[:1]))
    cache, network = FeatureCache(2 * one), Network()
    for shown in (3, 4):
        assert torch.equal(cache(views, network)[0], shown_at_once(views)[0])
        assert network.shown == shown
    assert len(cache) == 2 and cache.size == 2 * one


def test_what_is_handed_out_can_be_changed_without_harm():
    cache, network = FeatureCache(10**6), Network()
    for _ in range(2):
        found = cache(pictures(1), network)[0]
        assert found.eq(1).all()
        found.zero_()


def test_a_digest_tells_contents_apart():
    zeros = torch.zeros(3, 4, 4, dtype=torch.uint8)
    contents = [
        zeros,
        torch.zeros(3, 2, 8, dtype=torch.uint8),
        torch.zeros(3, 4, 1, dtype=torch.int32),
        torch.eye(4, dtype=torch.uint8).expand(3, 4, 4),
        *([zeros, zeros], [zeros], [[zeros], zeros], {"a": zeros}, {"b": zeros}, {"a": zeros, "b": None}),
        *(1, 1.0, True, "1", None, (1, 11), (11, 1), ("ab", "c"), ("a", "bc")),
    ]
    assert len({digest(content) for content in contents}) == len(contents)
    # A view of other strides is the same image.
    assert digest(contents[3]) == digest(contents[3].contiguous())
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_what_cannot_be_told_apart_is_refused():
    with pytest.raises(TypeError, match=r"cannot tell one object from another.*CACHE_GIB"):
        digest({"image": object()})


def test_a_bank_with_a_cache_gives_the_maps_of_one_without(trained_bank, batch):
    bank = TeacherBank(trained_bank.networks, trained_bank.names, cache=2**20)
    inputs = batch()
    expected = trained_bank.observe(inputs)
    for _ in range(2):
        for shown, wanted in zip(bank.observe(inputs), expected, strict=True):
            for x, y in zip(shown.features, wanted.features, strict=True):
                torch.testing.assert_close(x, y)
    assert [cache.hits for cache in bank.caches] == [len(inputs)] * len(bank.networks)
    # An augmented image is not the image.
    changed = [dict(one, image=one["image"] + 1) for one in inputs]
    assert not torch.equal(bank.observe(changed)[0].features[0], expected[0].features[0])
    # Nor are fewer levels all of them.
    assert [len(shown.features) for shown in bank.observe(inputs, 1)] == [1] * len(bank.networks)


def test_a_teacher_that_reads_more_than_the_image_gets_its_own_maps(detector, batch, monkeypatch):
    """A clip's teacher: inputs of one middle image and other neighbours have other maps."""
    monkeypatch.setattr(TASK_REGISTRY, "_obj_map", dict(TASK_REGISTRY._obj_map))

    class ClipDetector(detector):
        def preprocess_image(self, inputs):
            return super().preprocess_image([{"image": item["image"] + sum(item["neighbours"])} for item in inputs])

    @TASK_REGISTRY.register()
    class Clips(BoxesGFL):
        architectures = ("ClipDetector",)

        def view(self, inputs, role):
            return [{key: item[key] for key in ("image", "neighbours")} for item in inputs]

    bank = TeacherBank([ClipDetector(8)], ["clip"], cache=2**20)
    inputs = [{**one, "neighbours": [one["image"], one["image"]], "image_id": k} for k, one in enumerate(batch())]
    others = [{**one, "neighbours": [one["image"], 2 * one["image"]]} for one in inputs]
    renamed = [{**one, "image_id": 7} for one in inputs]
    for items, misses in ((inputs, 4), (others, 8), (renamed, 8)):
        maps = bank.observe(items)[0].features
        expected = TeacherBank(bank.networks, ["clip"]).observe(items)[0].features
        torch.testing.assert_close(maps, expected)
        assert bank.caches[0].misses == misses


def test_images_of_unequal_size_are_padded_as_without_a_cache(trained_bank):
    """Also where a batch is padded to a size that its images alone would not be."""
    bank = TeacherBank(trained_bank.networks[:1], ["a"], cache=2**20)
    task, network = bank.tasks[0], bank.networks[0]
    small, large = ({"image": torch.rand(3, *size)} for size in ((14, 9), (9, 18)))
    for other, size in ((small, (16, 12)), (large, (12, 20)), ({**small, "padded_size": (30, 9)}, (32, 12))):
        (maps, _) = bank.observe([other])[0].features
        alone = network.extract_features(network.preprocess_image([{**other, "padded_size": size}]))
        assert torch.equal(maps, alone[0]) and maps.shape[-2:] == (size[0] // 2, size[1] // 2)
    assert task.size(small) == (14, 9) and bank.caches[0].misses == 3


def test_a_negative_capacity_is_refused():
    with pytest.raises(ValueError, match="in bytes is -1; it must be at least 0"):
        FeatureCache(-1)
