"""Keys of the optimizer, of checkpoints, and of validation."""

from detectron2.config import CfgNode as CN


def add_training(cfg: CN) -> None:
    # "SGD" (Detectron2's own) or "AdamW".
    cfg.SOLVER.OPTIMIZER = "SGD"
    # AdamW's decay of its two moving averages.
    cfg.SOLVER.BETAS = (0.9, 0.999)
    # Number format of the student's training: "fp32", "bf16", "fp16" (GPUs only, with scaled gradients), or "auto".
    # That is bf16 on GPUs from compute capability 8.0, fp16 from 7.0, and fp32 elsewhere (hardware/precision.py).
    cfg.SOLVER.PRECISION = "auto"
    # The images per step that BASE_LR was found with: the rate becomes BASE_LR * IMS_PER_BATCH / REFERENCE_BATCH; 0: it
    # is BASE_LR. The iterations stay. (REFERENCE_WORLD_SIZE, Detectron2's own, scales batch and schedule instead.)
    cfg.SOLVER.REFERENCE_BATCH = 0
    # How many numbered checkpoints stay, at least 2, so that one can be damaged; 0: all, as in Detectron2.
    cfg.SOLVER.CHECKPOINT_KEEP = 0

    # What is measured every TEST.EVAL_PERIOD iterations, and what follows from it (engine/validation.py).
    cfg.VALIDATION = CN()
    # Data sets to measure on during training; DATASETS.TEST if empty. Name some when BEST or PATIENCE choose by them,
    # or the test set has a part in the training. DATASETS.TEST then comes at the end only.
    cfg.VALIDATION.DATASETS = ()
    # Also measure the detection losses, as "validation_loss" and its parts.
    cfg.VALIDATION.LOSS = False
    # Keep the best weights as model_best.pth: by "loss", "AP50", "AP" or another of the metrics; "": do not.
    cfg.VALIDATION.BEST = ""
    # End training after this many evaluations in a row without a better one; 0: never.
    cfg.VALIDATION.PATIENCE = 0
    # Only algorithms that give the same bits each time, also on a GPU; slower there, and an operation that has none is
    # an error.
    cfg.DETERMINISTIC = False
