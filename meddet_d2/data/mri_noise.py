"""Seven corruptions of magnitude MR slices, each in five severities, as Detectron2 augmentations.

The physics is TorchIO's (motion, ghosting, spike, bias field) and MONAI's (Rician noise, Gibbs ringing, low
resolution). This file draws their parameters from a seed and says how much a severity is. Nothing moves the anatomy:
the centre of k-space is always that of the unmoved slice, so that boxes and masks stay as they are.
docs/methods/noise.md shows them.

Shape legend
    H, W: height and width of the slice in pixels
    C: 1 for a grey slice, 3 for a coloured one
"""

import hashlib
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import torch

from detectron2.data import transforms as T

SEVERITIES = (1, 2, 3, 4, 5)
# How much each severity is. Chosen by eye on the phantom, 1 mild but visible, 5 with the spine still plain to see;
# docs/pictures/mri_noise.py draws them.
LEVELS: dict[str, tuple] = {
    # Standard deviation of the noise in both parts of the complex signal, as a fraction of the brightest tissue's.
    "rician": (0.03, 0.06, 0.10, 0.15, 0.22),
    # How far the patient moves, as a fraction of the slice's shorter side, and the part of k-space's lines, those about
    # its centre, during which he lies still.
    "motion": ((0.006, 0.60), (0.011, 0.46), (0.017, 0.36), (0.024, 0.28), (0.032, 0.22)),
    # Part of the signal that is lost in every n-th line of k-space.
    "ghosting": (0.30, 0.45, 0.60, 0.80, 1.00),
    # Height of the spikes as a fraction of k-space's greatest value: of the stripes, in multiples of the mean signal.
    "spike": (0.15, 0.25, 0.38, 0.55, 0.80),
    # Natural logarithm of the greatest factor.
    "bias_field": (0.35, 0.55, 0.80, 1.10, 1.50),
    # Radius of what is left of k-space, as a fraction of the highest frequency that the pixels can hold.
    "gibbs": (0.60, 0.48, 0.38, 0.30, 0.24),
    # Pixels along each side, as a fraction of what there were.
    "low_resolution": (0.60, 0.45, 0.36, 0.29, 0.23),
}
CORRUPTIONS = tuple(LEVELS)
# The brightest tissue is taken at this percentile: a single bright pixel must not decide.
SIGNAL_PERCENTILE = 99
# A patient moves that often in an acquisition, and turns by that many degrees for each hundredth of the side.
MOVEMENTS, TURN = 8, 0.8
# Every n-th line is weak. Of the lines about the centre this part is kept, or the whole slice would darken.
GHOSTS, KEPT_LINES = (2, 3, 4), 0.02
# How many spikes there are, and how far from the centre, in fractions of k-space's half side: wide stripes and narrow.
SPIKES, SPIKE_DISTANCES = 2, (0.12, 0.5)
BIAS_ORDER = 3
# With fewer pixels along a side hardly a line about the centre could be kept.
LEAST_SIDE = 16


def corrupt(image: np.ndarray, corruption: str, severity: int, seed: int) -> np.ndarray:
    """Corrupt one slice.

    The result is a function of the arguments alone; no global random state is used or changed.

    Args:
        image: uint8, (H, W) or (H, W, 3), at least 16 pixels along each side. Three equal channels stay equal; others
            have all parameters in common.
        corruption: one of ``CORRUPTIONS``.
        severity: 1 (mild) to 5 (strong).
        seed: >= 0, of what differs from slice to slice. Gibbs ringing and low resolution have nothing that does.

    Returns:
        A new array of the shape and type of ``image``; of what the magnitude was, above 255 is cut off.

    Raises:
        ValueError: an unknown corruption or severity, an image of another type or size, or TorchIO or MONAI is not
            installed. One line.
    """
    check_corruption(corruption, severity)
    _check_image(image)
    channels = np.atleast_3d(image)
    if (channels == channels[..., :1]).all():
        channels = channels[..., :1]
    planes = torch.from_numpy(np.moveaxis(channels, 2, 0).astype(np.float32))
    rng = np.random.default_rng([CORRUPTIONS.index(corruption), seed])
    # TorchIO draws from torch's global generator even where nothing is random.
    with torch.random.fork_rng(devices=[]):
        planes = _FUNCTIONS[corruption](planes, LEVELS[corruption][severity - 1], rng)
    # TorchIO and MONAI give the real part, which may be negative; a magnitude is not.
    values = np.rint(np.clip(np.abs(np.asarray(planes)), 0.0, 255.0)).astype(np.uint8)
    values = np.moveaxis(values, 0, 2)
    return np.broadcast_to(values, np.atleast_3d(image).shape).reshape(image.shape).copy()


def image_seed(corruption: str, severity: int, image_id: int | str) -> int:
    """The seed of an image in the robustness benchmark: the same for every network, on every machine."""
    text = f"{corruption}/{severity}/{image_id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def check_corruption(corruption: str, severity: int) -> None:
    """Raise ValueError, with those that are known, for an unknown corruption or severity."""
    if corruption not in CORRUPTIONS:
        raise ValueError(f"There is no MRI noise {corruption!r}; there are {', '.join(CORRUPTIONS)}.")
    if severity not in SEVERITIES:
        raise ValueError(f"There is no severity {severity!r} of MRI noise; give a whole number from 1 to 5.")


def check_libraries() -> None:
    """Raise ValueError, with the command that installs them, where TorchIO or MONAI is missing."""
    _library("torchio")
    _library("monai.transforms")


class MRINoiseTransform(T.Transform):
    """One corruption; boxes, points and masks stay as they are.

    Args:
        corruption, severity, seed: as in :func:`corrupt`.
    """

    def __init__(self, corruption: str, severity: int, seed: int) -> None:
        super().__init__()
        check_corruption(corruption, severity)
        self.corruption, self.severity, self.seed = corruption, severity, seed

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """See :func:`corrupt`."""
        return corrupt(img, self.corruption, self.severity, self.seed)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Nothing moves."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Nothing moves."""
        return segmentation

    def inverse(self) -> T.Transform:
        """Of boxes and masks; what noise has taken from an image does not come back."""
        return T.NoOpTransform()


class RandomMRINoise(T.Augmentation):
    """A random corruption for training, from numpy's global generator, which the loader seeds for each image.

    Args:
        prob: how often, in [0, 1].
        kinds: corruptions to choose from.
        severity: the least and the greatest, both drawn.

    Raises:
        ValueError: a value outside its range, or TorchIO or MONAI is not installed.
    """

    def __init__(
        self,
        prob: float,
        kinds: Sequence[str] = CORRUPTIONS,
        severity: tuple[int, int] = (SEVERITIES[0], SEVERITIES[-1]),
    ) -> None:
        super().__init__()
        if not 0.0 <= prob <= 1.0:
            raise ValueError(f"INPUT.MRI_NOISE.PROB is {prob}; give a probability in [0, 1].")
        if not kinds:
            raise ValueError(f"INPUT.MRI_NOISE.KINDS is empty; choose from {', '.join(CORRUPTIONS)}.")
        for kind in kinds:
            check_corruption(kind, SEVERITIES[0])
        if len(severity) != 2 or not set(severity) <= set(SEVERITIES) or severity[0] > severity[1]:
            raise ValueError(
                f"INPUT.MRI_NOISE.SEVERITY is {tuple(severity)}; give (low, high) with 1 <= low <= high <= 5."
            )
        check_libraries()
        self.prob, self.kinds, self.severity = prob, tuple(kinds), tuple(severity)

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draw whether, which, how strong, and a seed."""
        if np.random.uniform() >= self.prob:
            return T.NoOpTransform()
        kind = self.kinds[np.random.randint(len(self.kinds))]
        severity = np.random.randint(self.severity[0], self.severity[1] + 1)
        return MRINoiseTransform(kind, int(severity), int(np.random.randint(2**31)))


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"MRI noise takes uint8 images of (H, W) or (H, W, 3), not {image.dtype} of {image.shape}.")
    if min(image.shape[:2]) < LEAST_SIDE:
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise ValueError(f"MRI noise needs at least {LEAST_SIDE} pixels along each side; this image has {size}.")


def _library(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        missing = name.partition(".")[0]
        raise ValueError(
            f'MRI noise needs {missing}, which is not there: pip install -c constraints.txt -e ".[noise]"'
        ) from error


# --- the corruptions: planes (C, H, W) float32, how much, and where random numbers come from --------------------------


def _rician(planes: torch.Tensor, sigma: float, rng: np.random.Generator) -> torch.Tensor:
    sigma *= float(np.percentile(planes, SIGNAL_PERCENTILE))
    noise = _library("monai.transforms").RandRicianNoise(prob=1.0, std=sigma, sample_std=False)
    noise.set_random_state(seed=int(rng.integers(2**32)))
    return noise(planes)


def _motion(planes: torch.Tensor, level: tuple[float, float], rng: np.random.Generator) -> torch.Tensor:
    torchio = _library("torchio")
    reach, still = level
    # To a place and then to the opposite one: on the whole the anatomy stays where it is.
    angles, distances, turns = rng.uniform((-np.pi, 0.6, -1.0), (np.pi, 1.0, 1.0), (MOVEMENTS // 2, 3)).T
    distances *= reach * min(planes.shape[1:])
    nothing = np.zeros_like(turns)
    there = np.stack([nothing, distances * np.cos(angles), distances * np.sin(angles)], axis=1)
    turned = np.stack([turns * TURN * reach * 100, nothing, nothing], axis=1)
    shifts, degrees = (np.stack([values, -values], axis=1).reshape(MOVEMENTS, 3) for values in (there, turned))
    # When he moves, in parts of the acquisition: evenly, but not during the lines about the centre.
    times = (0.5 - 0.5 * still) * np.arange(1, MOVEMENTS // 2 + 1) / (MOVEMENTS // 2)
    times = np.concatenate([times, 1.0 - times[::-1]])
    # TorchIO acquires k-space along the last axis; in a patient it may be either.
    across = bool(rng.integers(2))
    volume = (planes.transpose(1, 2) if across else planes)[:, None]
    # It turns about the origin: that is to be the middle of the slice.
    affine = np.eye(4)
    affine[:3, 3] = [-(size - 1) / 2 for size in volume.shape[1:]]
    motion = torchio.Motion(degrees=degrees, translation=shifts, times=times, image_interpolation="linear")
    moved = motion(torchio.ScalarImage(tensor=volume, affine=affine)).data[:, 0]
    return moved.transpose(1, 2) if across else moved


def _ghosting(planes: torch.Tensor, loss: float, rng: np.random.Generator) -> torch.Tensor:
    axis, ghosts = int(rng.integers(2)), int(rng.choice(GHOSTS))
    # At least three lines, of which TorchIO keeps two, the central one among them.
    kept = max(KEPT_LINES, 3 / planes.shape[1 + axis])
    ghosting = _library("torchio").Ghosting(num_ghosts=ghosts, axis=axis, intensity=loss, restore=kept)
    return ghosting(planes[..., None])[..., 0]


def _spike(planes: torch.Tensor, height: float, rng: np.random.Generator) -> torch.Tensor:
    angles, distances = rng.uniform((-np.pi, SPIKE_DISTANCES[0]), (np.pi, SPIKE_DISTANCES[1]), (SPIKES, 2)).T
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * distances[:, None]
    # TorchIO counts from the corner of k-space; its third axis has one place.
    positions = np.pad(0.5 + 0.5 * steps, ((0, 0), (0, 1)))
    spike = _library("torchio").Spike(spikes_positions=positions, intensity=height / SPIKES)
    return spike(planes[..., None])[..., 0]


def _bias_field(planes: torch.Tensor, strength: float, rng: np.random.Generator) -> torch.Tensor:
    bias_field = _library("torchio").BiasField
    exponents = [powers for powers in product(range(BIAS_ORDER + 1), repeat=3) if sum(powers) <= BIAS_ORDER]
    # TorchIO's polynomial is of three coordinates, of which a slice has two; its constant is no bias.
    drawn = rng.uniform(-1.0, 1.0, len(exponents))
    drawn[[z > 0 or x == y == 0 for x, y, z in exponents]] = 0.0
    shape = torch.ones((1, *planes.shape[1:], 1))
    greatest = np.abs(np.log(bias_field.generate_bias_field(shape, BIAS_ORDER, drawn))).max()
    bias = bias_field(coefficients=list(drawn * strength / greatest), order=BIAS_ORDER)
    return bias(planes[..., None])[..., 0]


def _gibbs(planes: torch.Tensor, radius: float, rng: np.random.Generator) -> np.ndarray:
    height, width = planes.shape[1:]
    side = max(height, width)
    # MONAI counts lines of k-space, of which a shorter side has fewer up to a frequency: a square treats both alike.
    square = np.pad(planes, ((0, 0), (0, side - height), (0, side - width)), mode="symmetric")
    # Its radius is alpha less than that of the corner.
    gibbs = _library("monai.transforms").GibbsNoise(alpha=1.0 - radius / np.sqrt(2.0))
    return np.asarray(gibbs(square))[:, :height, :width]


def _low_resolution(planes: torch.Tensor, zoom: float, rng: np.random.Generator) -> torch.Tensor:
    # The mean over each large pixel, as the scanner takes it; MONAI's default, every n-th pixel, moves the anatomy.
    modes = {"downsample_mode": "area", "upsample_mode": "bicubic"}
    return _library("monai.transforms").RandSimulateLowResolution(prob=1.0, zoom_range=(zoom, zoom), **modes)(planes)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "rician": _rician,
    "motion": _motion,
    "ghosting": _ghosting,
    "spike": _spike,
    "bias_field": _bias_field,
    "gibbs": _gibbs,
    "low_resolution": _low_resolution,
}
