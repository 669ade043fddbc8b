"""Images that were read once are not read again, by any of the processes that share the cache."""

import multiprocessing

import cv2
import numpy as np
import pytest

from meddet_d2.data.image_cache import START, ImageCache, cached_reader
from meddet_d2.formats import read_image

pytestmark = pytest.mark.skipif(START not in multiprocessing.get_all_start_methods(), reason="processes cannot fork")


@pytest.fixture
def files(tmp_path):
    """A grey, a colour and another grey picture."""
    generator, names = np.random.default_rng(0), []
    for place, shape in enumerate([(20, 30), (10, 12, 3), (7, 5)]):
        names.append(str(tmp_path / f"{place}.png"))
        cv2.imwrite(names[-1], generator.integers(0, 256, shape, dtype=np.uint8))
    return names


def counting(calls):
    def read(file):
        calls.append(file)
        return read_image(file)

    return read


def three_channels(image):
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def test_each_image_is_read_once_and_is_what_it_was(files):
    calls = []
    cache = ImageCache(files, 10_000, counting(calls))
    for _ in range(3):
        for file in files:
            image = cache(file)
            assert np.array_equal(three_channels(image), read_image(file))
            image[:] = 0  # a copy: what is kept does not change
    assert calls == files
    assert cache(files[0]).shape == (20, 30) and cache(files[1]).shape == (10, 12, 3)


def test_the_limit_holds_and_other_files_are_read(files, tmp_path):
    calls = []
    cache = ImageCache(files, 20 * 30 + 7 * 5, counting(calls))
    for file in files * 2:
        cache(file)
    assert calls == [*files, files[1]]  # the colour picture found no room
    other = str(tmp_path / "other.png")
    cv2.imwrite(other, np.zeros((4, 4), np.uint8))
    assert cache(other).shape == (4, 4, 3) and calls[-1] == other


def test_processes_share_what_one_of_them_has_read(files):
    cache = ImageCache(files, 10_000)
    context = multiprocessing.get_context(START)
    child = context.Process(target=lambda: [cache(file) for file in files])
    child.start()
    child.join()
    cache._read = None  # so reading again would fail
    for file in files:
        assert np.array_equal(three_channels(cache(file)), read_image(file))


def test_the_key(files):
    assert cached_reader(files, 0.0) is read_image
    assert isinstance(cached_reader(files, 0.001), ImageCache)
    with pytest.raises(ValueError, match=r"DATALOADER\.CACHE_GIB is -1"):
        cached_reader(files, -1)
    with pytest.raises(ValueError, match=r"CACHE_GIB is 1e\+06, but this machine has [\d.]+ GiB of memory"):
        cached_reader(files, 1e6)
