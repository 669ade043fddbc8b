"""The anatomy of one synthetic neck: a lordotic spine with its discs, drawn at random for each patient.

Lengths are fractions of the field of view (about 230 mm), so 0.01 is 5 pixels of a 512 pixel image at ZOOM 1.
x points backward (the patient faces left), y points down. Positions along the spine are spine coordinates (s, d):

    s: arc length along the backs of the vertebral bodies, downward, 0 at the middle of the C2/3 disc
    d: distance from that line, backward (d < 0: bodies and discs; d > 0: canal, spinous processes, muscles)
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

LEVELS = ("C2/3", "C3/4", "C4/5", "C5/6", "C6/7", "C7/T1")
# Where the middle of the neck (half way between C2/3 and C7/T1) lies when nothing is shifted.
NECK_CENTRE = (0.47, 0.535)
# The ranges of `Disc.depth` of healthy discs and of protruding ones, in fractions of the field of view.
Depths = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Disc:
    """One intervertebral disc.

    Attributes:
        level: its name, one of LEVELS, or empty for the thoracic discs below, which are painted but not annotated.
        position: s of its middle.
        thickness: its height along s.
        width: its extent along d, from the front to the backs of the bodies.
        depth: how far it reaches behind the backs of the bodies, >= 0. The one sign of a protrusion.
        spread: half the height of the part that reaches backward.
        shift: how far that part lies below the disc's middle.
        nucleus: signal of the nucleus, 0 to 1; dark in a degenerated disc, whether it protrudes or not.
        protrudes: the class.
    """

    level: str
    position: float
    thickness: float
    width: float
    depth: float
    spread: float
    shift: float
    nucleus: float
    protrudes: bool

    def body_outline(self) -> np.ndarray:
        """The disc between its vertebrae: a closed polygon (N, 2) in (s, d)."""
        u, v = superellipse(4.0).T
        d = -0.5 * self.width + (0.5 * self.width + 0.001) * u
        return np.stack([self.position + 0.5 * self.thickness * v * (1.0 - 0.12 * u**2), d], axis=1)

    def centre(self) -> np.ndarray:
        """(1, 2) in (s, d): the middle of :meth:`body_outline`, and its centroid. A protrusion does not move it."""
        return np.array([[self.position, -0.5 * self.width]])

    def lobe_outline(self) -> np.ndarray:
        """The part that reaches backward: a closed polygon (N, 2) in (s, d) whose greatest d is `depth`."""
        angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 25)
        root = -0.010
        d = root + (self.depth - root) * np.cos(angle) ** 0.7
        return np.stack([self.position + self.shift + self.spread * np.sin(angle), d], axis=1)

    def outline(self) -> np.ndarray:
        """All points of both parts (N, 2) in (s, d), to measure the disc's extent."""
        return np.concatenate([self.body_outline(), self.lobe_outline()])


@dataclass(frozen=True)
class Body:
    """One vertebral body: a block with rounded corners, a waist, and ends that are a little hollow.

    Attributes:
        top, bottom: s of its ends.
        width: its extent along d, from the front to the back.
    """

    top: float
    bottom: float
    width: float

    def outline(self, inset: float = 0.0) -> np.ndarray:
        """A closed polygon (N, 2) in (s, d); `inset` leaves that much of the rim out."""
        u, v = superellipse(6.0).T
        return self._at(u, v, inset)

    def corners(self) -> np.ndarray:
        """Top front, top back, bottom front and bottom back: (4, 2) in (s, d), the middles of the rounded corners.

        They are vertices of :meth:`outline`, where |u| = |v| on the superellipse.
        """
        u, v = np.array([[-1.0, 1.0, -1.0, 1.0], [-1.0, -1.0, 1.0, 1.0]]) * 0.5 ** (1.0 / 6.0)
        return self._at(u, v)

    def centre(self) -> np.ndarray:
        """(1, 2) in (s, d); also the outline's centroid, since it is symmetric about it in both directions."""
        return np.array([[0.5 * (self.top + self.bottom), -0.5 * self.width]])

    def _at(self, u: np.ndarray, v: np.ndarray, inset: float = 0.0) -> np.ndarray:
        middle, half = 0.5 * (self.top + self.bottom), 0.5 * (self.bottom - self.top)
        waist = 1.0 - 0.07 * (1.0 - v**2)
        hollow = 1.0 - 0.07 * (1.0 - u**2)
        d = -0.5 * self.width + (0.5 * self.width + 0.001 - inset) * u * waist
        return np.stack([middle + (half - 0.6 * inset) * v * hollow, d], axis=1)


class Spine:
    """The curve through the backs of the vertebral bodies, and the map from spine coordinates to the plane."""

    def __init__(self, *, tilt: float, lordosis: float, length: float, centre: tuple[float, float]) -> None:
        """
        Args:
            tilt: inclination of the neck's middle in radians; positive leans the head forward.
            lordosis: half the angle between the tangents at C2/3 and C7/T1, in radians; positive is a normal neck.
            length: s of the C7/T1 disc.
            centre: (x, y) of the middle of the neck.
        """
        self._s = np.linspace(-0.6, 1.2, 361)
        along = 2.0 * self._s / length - 1.0
        # Above C2 the canal straightens toward the brain stem, below T1 the thoracic kyphosis begins.
        bend = np.clip(along, -1.15, 1.1) - 0.35 * np.clip(along - 1.5, 0.0, None)
        self._angle = tilt + lordosis * bend
        step = self._s[1] - self._s[0]
        x = np.cumsum(np.sin(self._angle)) * step
        y = np.cumsum(np.cos(self._angle)) * step
        # The line lies behind the neck's middle by half a vertebral body.
        self._x = x - np.interp(0.5 * length, self._s, x) + centre[0] + 0.035
        self._y = y - np.interp(0.5 * length, self._s, y) + centre[1]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map spine coordinates (N, 2) as (s, d) to the plane (N, 2) as (x, y)."""
        s, d = points[:, 0], points[:, 1]
        angle = np.interp(s, self._s, self._angle)
        x = np.interp(s, self._s, self._x) + d * np.cos(angle)
        y = np.interp(s, self._s, self._y) - d * np.sin(angle)
        return np.stack([x, y], axis=1)


@dataclass(frozen=True)
class Neck:
    """Everything the painter needs to know of one slice of one patient.

    `tissue` holds signals in [0, 1] by name; `shape` holds lengths in fractions of the field of view by name.
    """

    spine: Spine
    discs: tuple[Disc, ...]
    tissue: dict[str, float]
    shape: dict[str, float]

    def bodies(self) -> list[Body]:
        """C2 (without its dens), C3 and so on: the bodies above the discs."""
        tops = [-0.83 * self.shape["spacing"], *(disc.position + 0.5 * disc.thickness for disc in self.discs[:-1])]
        bottoms = [disc.position - 0.5 * disc.thickness for disc in self.discs]
        width = self.shape["body_width"]
        return [Body(top, bottom, width) for top, bottom in zip(tops, bottoms, strict=True)]


@lru_cache
def superellipse(power: float, points: int = 48) -> np.ndarray:
    """Points (points, 2) on |u|^power + |v|^power = 1, a square with rounded corners; not to be written to."""
    angle = np.arange(points) * (2.0 * np.pi / points)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outline = np.sign(circle) * np.abs(circle) ** (2.0 / power)
    outline.flags.writeable = False
    return outline


def draw_neck(rng: np.random.Generator, protrusion_rate: float, depths: Depths) -> Neck:
    """Draw a patient.

    Args:
        rng: the patient's own source of randomness.
        protrusion_rate: probability that a disc protrudes.
        depths: of the discs.
    """
    spacing = rng.uniform(0.088, 0.097)
    centre = (NECK_CENTRE[0] + rng.uniform(-0.025, 0.025), NECK_CENTRE[1] + rng.uniform(-0.02, 0.02))
    spine = Spine(tilt=rng.uniform(-0.10, 0.16), lordosis=rng.uniform(-0.03, 0.34), length=5.0 * spacing, centre=centre)
    shape = {
        "spacing": spacing,
        "body_width": rng.uniform(0.069, 0.078),
        "canal_front": 0.0035,
        "canal_back": rng.uniform(0.057, 0.064),
        "cord_width": rng.uniform(0.027, 0.033),
        "cord_middle": rng.uniform(0.030, 0.034),
        "airway_front": rng.uniform(0.040, 0.060),
        "prevertebral": rng.uniform(0.012, 0.020),
        "front_skin": rng.uniform(0.11, 0.17),
        "back_skin": rng.uniform(0.235, 0.285),
        "back_fat": rng.uniform(0.022, 0.050),
        "spinous_length": rng.uniform(0.075, 0.105),
        "spinous_slope": rng.uniform(0.25, 0.55),
    }
    tissue = {
        "marrow": rng.uniform(0.40, 0.54),
        "cord": rng.uniform(0.38, 0.47),
        "csf": rng.uniform(0.86, 0.98),
        "muscle": rng.uniform(0.17, 0.25),
        "fat": rng.uniform(0.56, 0.70),
        "annulus": rng.uniform(0.08, 0.13),
        "ligament": rng.uniform(0.05, 0.09),
    }
    discs = tuple(_draw_disc(rng, index, shape, protrusion_rate, depths) for index in range(len(LEVELS) + 4))
    return Neck(spine=spine, discs=discs, tissue=tissue, shape=shape)


def _draw_disc(
    rng: np.random.Generator, index: int, shape: dict[str, float], protrusion_rate: float, depths: Depths
) -> Disc:
    cervical = index < len(LEVELS)
    protrudes = bool(rng.random() < protrusion_rate) and cervical
    # Degeneration is drawn without a look at the class: a dark disc alone says nothing about a protrusion.
    degenerated = rng.random() < 0.5
    thickness = rng.uniform(0.0235, 0.0285) * (0.85 if degenerated else 1.0)
    return Disc(
        level=LEVELS[index] if cervical else "",
        position=index * shape["spacing"] + rng.uniform(-0.002, 0.002),
        thickness=thickness,
        width=shape["body_width"] * rng.uniform(1.02, 1.08),
        depth=rng.uniform(*depths[protrudes]),
        spread=thickness * rng.uniform(0.42, 0.62),
        shift=thickness * rng.uniform(-0.12, 0.12),
        nucleus=rng.uniform(0.12, 0.20) if degenerated else rng.uniform(0.34, 0.72),
        protrudes=protrudes,
    )


def neighbouring_slice(neck: Neck, rng: np.random.Generator, depths: Depths) -> Neck:
    """The same patient some millimetres to the side: depths, nuclei, cord and spinous processes differ a little.

    The depths stay within the ranges they were drawn from, so that the class is as plain as in the first slice.
    """
    discs = []
    for disc in neck.discs:
        depth = float(np.clip(disc.depth * rng.uniform(0.88, 1.12), *depths[disc.protrudes]))
        nucleus = disc.nucleus * rng.uniform(0.9, 1.05)
        discs.append(replace(disc, depth=depth, nucleus=nucleus, spread=disc.spread * rng.uniform(0.95, 1.05)))
    shape = dict(neck.shape)
    shape["cord_width"] *= rng.uniform(0.90, 1.0)
    shape["spinous_length"] *= rng.uniform(0.65, 0.95)
    shape["airway_front"] *= rng.uniform(0.9, 1.05)
    return replace(neck, discs=tuple(discs), shape=shape)
