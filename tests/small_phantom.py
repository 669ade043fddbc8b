"""The parameters of a phantom that is drawn in no time."""

from typing import Any

from meddet_d2.phantom import PhantomParams


def small_phantom(**changes: Any) -> PhantomParams:
    """Two patients to train on and one to test, without noise; ``changes`` go over that."""
    settings = {
        "seed": 3,
        "size": 96,
        "zoom": 1.0,
        "train_patients": 2,
        "test_patients": 1,
        "protrusion_depth": (0.007, 0.021),
        "healthy_depth": (0.0, 0.004),
        "protrusion_rate": 0.35,
        "noise": (0.0, 0.0),
    }
    return PhantomParams(**{**settings, **changes})
