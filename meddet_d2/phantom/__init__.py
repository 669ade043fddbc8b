from .phantom_dataset import SPLITS, PhantomParams, generate, make_patient

__all__ = ["SPLITS", "PhantomParams", "generate", "make_patient"]
