"""The neural-memory ODE as an activation."""

from .nmode_block import build_nmode

__all__ = ["build_nmode"]
