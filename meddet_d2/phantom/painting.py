"""Paints a synthetic neck (anatomy.py) as a sagittal T2 image: bright fluid and fat, grey cord, dark bone and air.

Signals are relative to the brightest fluid; (s, d) are spine coordinates in fractions of the field of view.
"""

import numpy as np

from .anatomy import Neck
from .canvas import Canvas, band, ellipse, moved, rounded


def paint_neck(canvas: Canvas, neck: Neck, rng: np.random.Generator) -> None:
    """Paint everything, from the skin inward; what is painted later lies in front."""
    _paint_outline(canvas, neck)
    _paint_muscles(canvas, neck, rng)
    _paint_throat(canvas, neck)
    _paint_head(canvas, neck)
    _paint_spinous_processes(canvas, neck, rng)
    _paint_vertebrae(canvas, neck, rng)
    _paint_canal(canvas, neck)
    _paint_discs(canvas, neck)


def _back_skin(neck: Neck, s: np.ndarray) -> np.ndarray:
    """d of the skin of the nape: the hollow of the neck, the shoulders below, the back of the head above."""
    shape = neck.shape
    nape = shape["back_skin"] - 0.035
    shoulders = 0.16 * np.clip((s - 1.5 * shape["spacing"]) / 0.5, 0.0, None) ** 1.4
    return nape + shoulders + (0.325 - nape) * _smoothstep((0.02 - s) / 0.27)


def _front_skin(neck: Neck, s: np.ndarray) -> np.ndarray:
    """d of the skin of the throat: under the chin it runs forward, over the breastbone a little."""
    shape = neck.shape
    throat = -shape["body_width"] - shape["airway_front"] - shape["front_skin"] + 0.04
    chin = 0.42 * _smoothstep((2.2 * shape["spacing"] - s) / (1.7 * shape["spacing"]))
    chest = 0.5 * np.clip((s - 4.6 * shape["spacing"]) / 0.5, 0.0, None) ** 1.3
    # The larynx stands out a little.
    larynx = 0.012 * np.exp(-(((s - 2.9 * shape["spacing"]) / 0.03) ** 2))
    return throat - chin - chest - larynx


def _smoothstep(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, and 3 t^2 - 2 t^3 between."""
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _paint_outline(canvas: Canvas, neck: Neck) -> None:
    s = np.linspace(-0.55, 1.1, 90)
    front, back = _front_skin(neck, s), _back_skin(neck, s)
    fat, muscle = neck.tissue["fat"], neck.tissue["muscle"]
    canvas.fill(band(s, front, back), 0.30)
    canvas.fill(band(s, front + 0.006, back - 0.006), fat, 0.10)
    back_fat = neck.shape["back_fat"] * (1.0 + 0.5 * np.clip(s - 0.2, 0.0, 0.6))
    canvas.fill(band(s, front + 0.020, back - 0.006 - back_fat), muscle, 0.16)


def _paint_muscles(canvas: Canvas, neck: Neck, rng: np.random.Generator) -> None:
    """The extensors of the neck as long strips with fat between and within them."""
    s = np.linspace(-0.30, 0.95, 50)
    muscle, fat = neck.tissue["muscle"], neck.tissue["fat"]
    inner = neck.shape["canal_back"] + 0.012
    outer = _back_skin(neck, s) - 0.010 - neck.shape["back_fat"]
    for edge in np.sort(rng.uniform(0.15, 0.92, 3)):
        waviness = rng.uniform(0.0, 0.008) * np.sin(s * rng.uniform(6.0, 14.0) + rng.uniform(0.0, 6.28))
        middle = inner + edge * (outer - inner) + waviness
        canvas.fill(band(s, middle, outer - 0.004), muscle * rng.uniform(0.85, 1.2), 0.18)
        half = 0.001 + rng.uniform(0.0004, 0.0022) * (1.0 + np.sin(s * rng.uniform(4.0, 10.0) + rng.uniform(0.0, 6.0)))
        canvas.fill(band(s, middle - half, middle + half), 0.72 * fat, 0.25)
    unit = np.linspace(0.0, 1.0, 8)
    for _ in range(26):
        start, length = rng.uniform(-0.10, 0.75), rng.uniform(0.05, 0.18)
        along = start + length * unit
        edge = rng.uniform(0.05, 0.95) + rng.uniform(-0.08, 0.08) * unit
        across = inner + edge * (np.interp(along, s, outer) - inner) + 0.0015 * np.sin(along * 60.0)
        canvas.line(np.stack([along, across], axis=1), 0.0022, rng.uniform(0.30, 0.55) * fat, 0.2)


def _paint_throat(canvas: Canvas, neck: Neck) -> None:
    """Tongue, jaw, airway with the epiglottis, larynx, gullet."""
    shape, tissue = neck.shape, neck.tissue
    spacing, wall = shape["spacing"], -shape["body_width"] - shape["prevertebral"]
    width = shape["airway_front"]
    s = np.linspace(-0.40, 1.05, 60)
    # The tongue with its fan of fibres, fat below it, the slit of the mouth above it.
    canvas.fill(ellipse(0.15 * spacing, wall - 0.145, 0.095, 0.118, 2.6), 0.28, 0.30)
    for k in range(15):
        reach = np.linspace(0.02, 0.098, 8)
        turn = -2.0 + 0.20 * k
        bent = turn + 0.25 * (reach / 0.1) ** 2
        fibre = np.stack([0.62 * spacing + reach * np.sin(bent) * 1.1, wall - 0.10 - reach * np.cos(bent)], axis=1)
        canvas.line(fibre, 0.0030, (0.36, 0.22, 0.42)[k % 3], 0.25)
    canvas.fill(ellipse(1.22 * spacing, wall - 0.150, 0.018, 0.095), 0.75 * tissue["fat"], 0.3)
    mouth = np.array([[-0.55, -0.06], [-0.90, -0.11], [-0.95, -0.18], [-0.70, -0.26]]) * (spacing, 1.0)
    canvas.line(moved(mouth, 0.0, wall), 0.004, 0.05)
    canvas.fill(ellipse(0.80 * spacing, wall - 0.268, 0.036, 0.024, 2.6), 0.05)
    canvas.fill(ellipse(0.80 * spacing, wall - 0.268, 0.029, 0.017, 2.6), tissue["marrow"], 0.2)
    # The airway is narrow behind the tongue and a round windpipe below the larynx.
    narrow = 0.45 + 0.55 / (1.0 + np.exp(-(s - 2.6 * spacing) / 0.03))
    front = wall - 0.006 - width * narrow
    canvas.fill(band(s, front - 0.005, wall - 0.002), 0.33, 0.10)
    lower = s > 2.4 * spacing
    canvas.fill(band(s[lower], front[lower] - 0.016, front[lower] - 0.004), 0.12, 0.15)
    canvas.fill(band(s, front, wall - 0.009), 0.0)
    canvas.fill(ellipse(2.75 * spacing, wall - 0.009 - 0.62 * width, 0.007, 0.36 * width), 0.26, 0.15)
    epiglottis = np.array([[2.0, -0.42], [1.55, -0.30], [1.15, -0.16], [0.85, -0.10]]) * (spacing, width)
    canvas.line(moved(epiglottis, 0.0, wall - 0.016), 0.006, 0.32)
    # The soft palate hangs into the airway from the front.
    canvas.fill(ellipse(-1.05 * spacing, wall - 0.028, 0.012, 0.030, 2.0), 0.34, 0.1)
    # Prevertebral muscle, gullet and the fat stripe before the spine.
    canvas.fill(band(s, wall - 0.004, -0.03), tissue["muscle"] * 1.15, 0.12)
    canvas.fill(band(s[s > 2.8 * spacing], wall - 0.009, wall + 0.001), 0.27, 0.2)


def _paint_head(canvas: Canvas, neck: Neck) -> None:
    """Skull base, brain stem and the lower part of the cerebellum."""
    tissue = neck.tissue
    cord, csf, marrow = tissue["cord"], tissue["csf"], tissue["marrow"]
    top = -1.45 * neck.shape["spacing"]  # the foramen magnum
    half = 0.5 * neck.shape["cord_width"]
    middle = neck.shape["cord_middle"]
    # Occipital bone: dark, with marrow, around the posterior fossa.
    canvas.fill(ellipse(top - 0.155, 0.110, 0.165, 0.172, 2.2), 0.06)
    canvas.fill(ellipse(top - 0.155, 0.110, 0.160, 0.167, 2.2), 0.85 * marrow, 0.2)
    canvas.fill(ellipse(top - 0.155, 0.110, 0.151, 0.157, 2.2), 0.05)
    canvas.fill(ellipse(top - 0.155, 0.110, 0.147, 0.153, 2.2), csf, 0.05)
    # Cerebellum with its folia.
    canvas.fill(ellipse(top - 0.138, 0.148, 0.112, 0.103, 2.3), 1.12 * cord, 0.10)
    angle = np.linspace(-0.9, 1.1, 9)
    for k, direction in enumerate(np.linspace(-2.3, 1.5, 15)):
        reach = np.linspace(0.030 if k % 2 else 0.045, 0.100, 9)
        turn = direction + 0.10 * angle * angle
        leaf = np.stack([top - 0.135 + 1.08 * reach * np.sin(turn), 0.143 + reach * np.cos(turn)], axis=1)
        canvas.line(leaf, 0.0020, 0.5 * (csf + cord) if k % 2 else 0.80 * cord)
    canvas.fill(ellipse(top - 0.138, 0.118, 0.034, 0.034), 0.95 * cord, 0.05)
    # Clivus before it, pons and medulla, fourth ventricle.
    clivus = np.array(
        [[0.004, 0.012], [-0.03, -0.012], [-0.30, -0.135], [-0.30, -0.075], [-0.10, 0.010], [-0.02, 0.020]]
    )
    canvas.fill(moved(clivus, top, 0.0), 0.06)
    inside = np.array(
        [[-0.006, 0.009], [-0.034, -0.007], [-0.28, -0.120], [-0.28, -0.082], [-0.10, 0.001], [-0.03, 0.013]]
    )
    canvas.fill(moved(inside, top, 0.0), 1.05 * marrow, 0.15)
    s = np.linspace(top - 0.30, top + 0.03, 40)
    above = np.clip(top - s, 0.0, None)
    pons = 0.036 / (1.0 + np.exp(-(above - 0.105) / 0.010))
    canvas.fill(band(s, middle - half - 0.016 - 0.6 * pons - 0.08 * above, middle + half + 0.012), csf)
    canvas.fill(band(s, middle - half - 0.05 * above - pons, middle + half + 0.08 * above), 1.05 * cord, 0.06)
    ventricle = np.array([[-0.055, 0.052], [-0.105, 0.078], [-0.150, 0.052], [-0.110, 0.050]])
    canvas.fill(moved(ventricle, top, 0.0), csf)


def _paint_spinous_processes(canvas: Canvas, neck: Neck, rng: np.random.Generator) -> None:
    """Ligaments and fat behind the canal, and a spinous process for each vertebra from C1 down."""
    shape, tissue = neck.shape, neck.tissue
    back, spacing = shape["canal_back"], shape["spacing"]
    s = np.linspace(-1.35 * spacing, 1.0, 60)
    canvas.fill(band(s, back - 0.004, back + 0.55 * shape["spinous_length"]), 0.8 * tissue["muscle"], 0.30)
    canvas.fill(ellipse(-1.02 * spacing, back + 0.014, 0.011, 0.013, 2.5), 0.04)
    canvas.fill(ellipse(-1.02 * spacing, back + 0.014, 0.006, 0.008, 2.5), tissue["marrow"], 0.15)
    for vertebra in range(-1, 9):
        # C2 and C7 carry the largest processes; they point more steeply downward toward the chest.
        length = shape["spinous_length"] * (1.0, 0.70, 0.62, 0.66, 0.82, 1.12, 1.15, 1.15, 1.15, 1.15)[vertebra + 1]
        start = (vertebra + 0.52) * spacing + rng.uniform(-0.004, 0.004)
        slope = shape["spinous_slope"] * (0.75 + 0.07 * (vertebra + 1)) + rng.uniform(-0.05, 0.05)
        half = rng.uniform(0.0145, 0.0185)
        outline = np.array([[-0.80, 0.0], [-0.62, 0.30], [-0.72, 0.70], [-0.80, 0.94], [-0.2, 1.02], [0.72, 0.98]])
        outline = np.concatenate([outline, [[0.92, 0.80], [0.62, 0.50], [0.66, 0.20], [0.80, 0.0]]])
        root = np.array([start, back + 0.006])
        process = root + np.stack([outline[:, 0] * half + outline[:, 1] * slope * length, outline[:, 1] * length], 1)
        canvas.fill(rounded(process), 0.04)
        middle = process.mean(axis=0)
        canvas.fill(rounded(middle + (process - middle) * (0.74, 0.92)), 0.92 * tissue["marrow"], 0.16)
        # Fat behind the dura between two laminae.
        fat = np.array([[-0.010, 0.0], [0.0, 0.013], [0.012, 0.0]])
        canvas.fill(rounded(moved(fat, start + 0.5 * spacing, back - 0.001)), 0.85 * tissue["fat"], 0.1)


def _paint_vertebrae(canvas: Canvas, neck: Neck, rng: np.random.Generator) -> None:
    """The bodies C2 (with the dens) to T4 between their discs, the arch of C1, the long ligaments."""
    shape, tissue = neck.shape, neck.tissue
    width, marrow = shape["body_width"], tissue["marrow"]
    s = np.linspace(-0.9 * shape["spacing"], 1.0, 60)
    canvas.fill(band(s, -width - 0.0045, shape["canal_front"]), tissue["ligament"])
    for index, body in enumerate(neck.bodies()):
        signal = marrow * rng.uniform(0.92, 1.08)
        if index == 0:
            # The dens stands on the body of C2; dark ligament and fat around its tip.
            top, tip = body.top, -1.52 * shape["spacing"]
            canvas.fill(ellipse(0.5 * (tip + top), -0.027, 0.5 * (top - tip) + 0.030, 0.0235, 2.6), 0.05)
            canvas.fill(ellipse(0.5 * (tip + top), -0.027, 0.5 * (top - tip) + 0.024, 0.0185, 2.6), signal, 0.14)
            canvas.fill(ellipse(-1.12 * shape["spacing"], -0.066, 0.020, 0.012, 2.3), 0.05)
            canvas.fill(ellipse(-1.12 * shape["spacing"], -0.066, 0.014, 0.0075, 2.3), signal, 0.14)
        for inset, value, texture in ((0.0, 0.04, 0.0), (0.0034, signal, 0.15)):
            canvas.fill(body.outline(inset), value, texture)
        # The basivertebral vein enters each body from behind.
        if index:
            middle = 0.5 * (body.top + body.bottom)
            vein = np.array([[middle, -0.001], [middle, -0.012]])
            canvas.line(vein, 0.0035, min(1.0, 1.45 * signal))


def _paint_canal(canvas: Canvas, neck: Neck) -> None:
    """The dural sac and the cord, which gives way where a disc presses on it."""
    shape, tissue = neck.shape, neck.tissue
    top = -1.5 * shape["spacing"]
    s = np.linspace(top, 1.0, 320)
    # The canal widens toward the skull and the cord is thickest at C5/6.
    widening = 0.008 * np.clip((top + 0.10 - s) / 0.10, 0.0, 1.0)
    canvas.fill(band(s, shape["canal_front"] - widening - 0.0015, shape["canal_back"] + 0.003), 0.05)
    canvas.fill(band(s, shape["canal_front"] - widening, shape["canal_back"]), tissue["csf"], 0.04)
    half = 0.5 * shape["cord_width"] * (0.90 + 0.14 * np.exp(-(((s - 3.2 * shape["spacing"]) / 0.13) ** 2)))
    front, back = shape["cord_middle"] - half, shape["cord_middle"] + half
    pressed = np.zeros_like(s)
    for disc in neck.discs:
        profile = np.exp(-(((s - disc.position - disc.shift) / (1.25 * disc.spread)) ** 2))
        pressed = np.maximum(pressed, (disc.depth + 0.0030 - front) * profile)
    front = front + np.clip(pressed, 0.0, None)
    back = back + 0.35 * np.clip(pressed, 0.0, None)
    canvas.fill(band(s, front, back), tissue["cord"], 0.05)
    canvas.fill(band(s, 0.56 * front + 0.44 * back, 0.44 * front + 0.56 * back), 1.10 * tissue["cord"], 0.05)


def _paint_discs(canvas: Canvas, neck: Neck) -> None:
    """Dark annulus, nucleus of any brightness, and the part that reaches backward into the fluid."""
    annulus = neck.tissue["annulus"]
    for disc in neck.discs:
        canvas.fill(disc.lobe_outline(), annulus, 0.05)
        canvas.fill(disc.body_outline(), annulus, 0.10)
        d = -0.53 * disc.width
        nucleus = ellipse(disc.position, d, 0.36 * disc.thickness, 0.31 * disc.width, 2.6)
        canvas.fill(nucleus, 0.5 * (disc.nucleus + annulus), 0.12)
        canvas.fill(ellipse(disc.position, d, 0.26 * disc.thickness, 0.26 * disc.width, 2.4), disc.nucleus, 0.12)
