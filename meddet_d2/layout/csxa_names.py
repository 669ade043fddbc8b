"""The 23 points of C2 to C7 of CSXA, the cervical spine X-ray atlas, by its names and in its order.

Ran et al., Scientific Data 11 (2024), doi 10.1038/s41597-024-03383-0. In its names "left" is the front of a body and
"right" its back: the authors' program takes the left points for the front of each vertebra, and measures the sagittal
vertical axis from "C2 centroid" to "C7 top right", the back. Patients face left.
"""

_VERTEBRAE = ("C3", "C4", "C5", "C6", "C7")
_CORNERS = ("top left", "top right", "bottom left", "bottom right")
CSXA_NAMES = (
    "C2 centroid",
    *(f"C2 {corner}" for corner in _CORNERS[2:]),
    *(f"{vertebra} {corner}" for vertebra in _VERTEBRAE for corner in _CORNERS),
)
# What a picture connects: the outline of each body.
CSXA_SKELETON = (
    ("C2 centroid", "C2 bottom left"),
    ("C2 bottom left", "C2 bottom right"),
    ("C2 bottom right", "C2 centroid"),
    *(
        (f"{vertebra} {_CORNERS[one]}", f"{vertebra} {_CORNERS[other]}")
        for vertebra in _VERTEBRAE
        for one, other in ((0, 1), (1, 3), (3, 2), (2, 0))
    ),
)
