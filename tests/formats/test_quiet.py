"""What the file libraries say is kept back while they read, and nothing else is."""

import logging
import warnings

import numpy as np
import pytest
from PIL import Image

from meddet_d2.formats import read_image
from meddet_d2.formats.quiet import LIBRARIES, quiet


def warn():
    warnings.warn("a warning of somebody else", stacklevel=1)


def test_nothing_gets_out(capfd, caplog):
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with quiet():
            warn()
            for name in LIBRARIES:
                logging.getLogger(name).critical("a quotation")
                logging.getLogger(f"{name}.below").critical("a quotation")
    assert (caught, caplog.records, *capfd.readouterr()) == ([], [], "", "")


def test_everything_is_as_it_was_afterwards(caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ZeroDivisionError), quiet():
        raise ZeroDivisionError
    logging.getLogger("pydicom").warning("one")
    logging.getLogger("PIL.TiffImagePlugin").warning("two")
    assert caplog.messages == ["one", "two"]
    with pytest.warns(UserWarning, match="somebody else"):
        warn()


def test_reading_does_not_make_others_repeat_themselves(tmp_path):
    """A training run reads thousands of images, and what it is warned of once is not to come again with each."""
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            warn()
            read_image(tmp_path / "a.png")
    assert len(caught) == 1
