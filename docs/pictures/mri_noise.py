"""Draws mri_noise.jpg: the seven corruptions in their five severities, on a phantom.

python docs/pictures/mri_noise.py
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import meddet_d2  # noqa: F401  finds the engine
from meddet_d2.data.mri_noise import CORRUPTIONS, SEVERITIES, corrupt
from meddet_d2.drawing import BACKGROUND, CAPTION, FOREGROUND, font_of
from meddet_d2.phantom import PhantomParams, make_patient

PANEL, NAMES, GAP = 200, 120, 4
PHANTOM = PhantomParams(
    seed=3, size=PANEL, zoom=1.4, train_patients=1, test_patients=1, protrusion_rate=0.5,
    protrusion_depth=(0.01, 0.021), healthy_depth=(0.0, 0.004), noise=(0.02, 0.05),
)  # fmt: skip

image = make_patient(PHANTOM, "test", 0)[0].image
columns = ["clean", *(f"severity {severity}" for severity in SEVERITIES)]
size = NAMES + len(columns) * (PANEL + GAP), CAPTION + len(CORRUPTIONS) * (PANEL + GAP)
sheet = Image.new("RGB", size, BACKGROUND)
draw, font = ImageDraw.Draw(sheet), font_of(15)
for column, name in enumerate(columns):
    draw.text((NAMES + (column + 0.5) * (PANEL + GAP), CAPTION / 2), name, FOREGROUND, font, anchor="mm")
for row, corruption in enumerate(CORRUPTIONS):
    top = CAPTION + row * (PANEL + GAP)
    draw.text((10, top + PANEL / 2), corruption.replace("_", " "), FOREGROUND, font, anchor="lm")
    for column in range(len(columns)):
        panel = image if column == 0 else corrupt(image, corruption, column, seed=1)
        panel = Image.fromarray(np.stack([panel] * 3, axis=2))
        sheet.paste(panel, (NAMES + column * (PANEL + GAP), top))
sheet.save(Path(__file__).with_suffix(".jpg"), quality=70, optimize=True)
