from .landmark_dataset import PHANTOM_LANDMARKS, generate_landmarks, landmarks_folder
from .phantom_dataset import SPLITS, PhantomParams, generate, make_patient

__all__ = [
    "PHANTOM_LANDMARKS",
    "SPLITS",
    "PhantomParams",
    "generate",
    "generate_landmarks",
    "landmarks_folder",
    "make_patient",
]
