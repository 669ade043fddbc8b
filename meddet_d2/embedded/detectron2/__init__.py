"""A small stand-in for Detectron2, found only where the real one is not installed.

It holds the part of Detectron2's public API that ``meddet_d2`` uses, under upstream's names, built on the libraries
that Detectron2 itself is built on. Boxes only: no masks, key points, proposals or rotated boxes. Upstream documents the
API; docstrings here say what a reader cannot guess and where this engine is stricter.
"""

__version__ = "0.6+meddet.embedded"
