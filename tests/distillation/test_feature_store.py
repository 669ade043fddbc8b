"""FeatureStore: maps that outlive the process, and what may not be handed out."""

import logging
from copy import deepcopy

import pytest
import torch
from safetensors.torch import load_file

from meddet_d2.distillation import TeacherBank
from meddet_d2.distillation.feature_cache import FeatureCache
from meddet_d2.distillation.feature_store import FeatureStore, fingerprint


def maps(value=1.0):
    return [torch.full((1, 2, 4, 6), value), torch.full((1, 3, 2, 3), value).bfloat16()]


def test_what_is_saved_is_loaded_in_value_type_and_memory_order(tmp_path):
    store = FeatureStore(tmp_path, 10**6, "teacher")
    saved = [torch.randn(1, 2, 4, 6).contiguous(memory_format=torch.channels_last), *maps()]
    assert store.load("image") is None
    store.save("image", saved)
    for loaded in (store.load("image"), FeatureStore(tmp_path, 0, "teacher").load("image")):
        assert len(loaded) == 3
        for x, y in zip(loaded, saved, strict=True):
            assert torch.equal(x, y) and x.dtype == y.dtype
            assert x.is_contiguous(memory_format=torch.channels_last)
    assert FeatureStore(tmp_path, 10**6, "another").load("image") is None


def test_a_full_folder_takes_nothing_more_and_says_so_once(tmp_path, caplog):
    size = sum(x.numel() * x.element_size() for x in maps())
    store = FeatureStore(tmp_path, size, "teacher")
    with caplog.at_level(logging.WARNING):
        for name in "abc":
            store.save(name, maps())
    assert [store.load(name) is None for name in "abc"] == [False, True, True]
    assert [r.getMessage().count("CACHE_DIR_GIB") for r in caplog.records] == [1]
    # The files of another teacher, and of an earlier run, count.
    again = FeatureStore(tmp_path, size, "other")
    again.save("d", maps())
    assert again.load("d") is None


def test_the_teachers_share_the_space(trained_bank, batch, tmp_path):
    images = batch()
    one = sum(
        x.numel() * x.element_size() for x in trained_bank.observe(images[:1])[0].features
    )  # of the widest teacher
    trained_bank.keep_on_disk(str(tmp_path), 6 * one)
    trained_bank.observe(images)
    stored = [sum(x.numel() * 4 for x in load_file(path).values()) for path in tmp_path.glob("*/*.safetensors")]
    assert 6 <= len(stored) < 3 * len(images) and sum(stored) <= 6 * one


def test_a_broken_file_is_computed_again(tmp_path, caplog):
    store = FeatureStore(tmp_path, 10**6, "teacher")
    cache = FeatureCache(0, store)
    images = torch.rand(1, 3, 8, 8)
    views = [{"image": images}]

    def network(view):
        return [view["image"][:, :2], view["image"][:, 1:]]

    cache(views, network)
    (path,) = store.folder.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    with caplog.at_level(logging.WARNING):
        (found, _) = cache(views, network)
    assert torch.equal(found, images[:, :2]) and path.name in caplog.text
    assert torch.equal(store.load(path.stem)[0], images[:, :2])


def test_a_second_run_does_not_ask_the_teachers(trained_bank, trained_detectors, batch, tmp_path):
    trained_bank.keep_on_disk(str(tmp_path), 10**9)
    images = batch()
    first = trained_bank.observe(images)
    assert sum(1 for _ in tmp_path.glob("*/*.safetensors")) == 3 * len(images)
    bank = TeacherBank(deepcopy(trained_detectors), ["a", "b", "c"])
    bank.keep_on_disk(str(tmp_path), 10**9)
    for detector in bank.networks:
        detector.backbone.calls = 0
    second = bank.observe(images[::-1])
    assert [detector.backbone.calls for detector in bank.networks] == [0, 0, 0]
    for before, after in zip(first, second, strict=True):
        for x, y in zip(before.features, after.features, strict=True):
            assert torch.equal(x, y.flip(0))
    # Trained again, a teacher is another one.
    with torch.no_grad():
        next(bank.networks[0].backbone.parameters()).add_(0.1)
    bank.keep_on_disk(str(tmp_path), 10**9)
    bank.observe(images)
    assert [detector.backbone.calls for detector in bank.networks] == [len(images), 0, 0]


def test_a_fingerprint_is_of_weights_buffers_and_settings(detector):
    network = detector(6)
    network.register_buffer("pixel_mean", torch.zeros(3), persistent=False)
    names = {fingerprint(network), fingerprint(network, torch.bfloat16)}
    network.pixel_mean += 1
    names.add(fingerprint(network))
    network.backbone.fine[1].running_mean += 1
    names.add(fingerprint(network))
    assert len(names) == 4 and fingerprint(network) == fingerprint(deepcopy(network)) in names


@pytest.mark.parametrize("below", [False, True])
def test_a_file_in_the_folders_place_is_named(tmp_path, below):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(ValueError, match=r"DISTILL\.TEACHERS\.CACHE_DIR .*file"):
        FeatureStore(path / "below" if below else path, 1, "teacher")
    with pytest.raises(ValueError, match="CACHE_DIR_GIB"):
        FeatureStore(tmp_path, -1, "teacher")
