"""A GPU whose memory is full is one line that says what to lower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def enough_memory(what: str, advice: str) -> Iterator[None]:
    """In the block, memory that runs out is an error of the person who chose the size.

    Args:
        what: the memory is for, with the batch and the size of the images.
        advice: what to lower.

    Raises:
        ValueError: in the place of torch's OutOfMemoryError.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise ValueError(f"The GPU has not enough memory for {what}; {advice}.") from error
