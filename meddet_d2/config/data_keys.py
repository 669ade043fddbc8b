"""Keys of the data sets and of what is done to images in training."""

from detectron2.config import CfgNode as CN


def add_data(cfg: CN) -> None:
    # Data sets of your own, any COCO json: tables with "name", "json" and, where they differ from the default, "images"
    # (the folder beside the json), "patient_key", "findings", "class_from" and "class_names"; or, for the command line,
    # texts "name=json,images" (docs/how_to/your_classes.md).
    cfg.DATASETS.REGISTER = ()
    # The key of an image's record that names its patient, for these data sets; "": patients are not known. Then the
    # split is by image, and every table says so.
    cfg.DATASETS.PATIENT_KEY = "patient_id"
    # The classes that make a patient positive; the data set's own if empty, all classes if it declares none.
    cfg.TEST.FINDINGS = ()

    # The synthetic cervical MR images (phantom). A data set is a pure function of these keys.
    cfg.DATASETS.PHANTOM = CN()
    # Another seed draws other patients.
    cfg.DATASETS.PHANTOM.SEED = 1848
    # Height and width of an image in pixels.
    cfg.DATASETS.PHANTOM.SIZE = 512
    # Magnification about the middle of the neck: 1.0 shows the whole field of view, 230 mm.
    cfg.DATASETS.PHANTOM.ZOOM = 1.0
    # Two slices are made of every patient; a patient is on one side of the split only.
    cfg.DATASETS.PHANTOM.TRAIN_PATIENTS = 150
    # The same on the other side.
    cfg.DATASETS.PHANTOM.TEST_PATIENTS = 40
    # How far a protruding disc reaches backward, as a fraction of the field of view: a range to draw from.
    # This range and the next are the difficulty of the classification; they stay as they are between experiments.
    cfg.DATASETS.PHANTOM.PROTRUSION_DEPTH = (0.007, 0.021)
    # The same of a healthy disc.
    cfg.DATASETS.PHANTOM.HEALTHY_DEPTH = (0.0, 0.004)
    # Share of discs that protrude.
    cfg.DATASETS.PHANTOM.PROTRUSION_RATE = 0.35
    # Standard deviation of the Rician noise, as a fraction of the image's largest value: a range to draw from.
    cfg.DATASETS.PHANTOM.NOISE = (0.02, 0.05)

    # Memory for decoded images of DATASETS.TRAIN in each training process, in GiB; 0: none is kept. A grey image of
    # 512 x 512 pixels takes a quarter of a MiB.
    cfg.DATALOADER.CACHE_GIB = 0.0

    # Greatest random change of brightness and contrast in training: 0.1 means factors in [0.9, 1.1].
    cfg.INPUT.INTENSITY_JITTER = 0.0
    # How a landmark network's training images are turned, scaled and shifted (data/affine.py); all 0: not at all.
    cfg.INPUT.LANDMARK = CN()
    # Greatest angle in degrees, either way: patients do not lie straight.
    cfg.INPUT.LANDMARK.ROTATION = 15.0
    # Greatest change of the scale: 0.2 means factors in [0.8, 1.2], children and large fields of view.
    cfg.INPUT.LANDMARK.SCALE = 0.2
    # Greatest shift in each direction, as a part of the image's longer side.
    cfg.INPUT.LANDMARK.SHIFT = 0.05

    # Scanner artefacts in training (data/mri_noise.py; the extra "noise"). Off by default: its user decides what a
    # network has to withstand, and a network trained on one artefact says nothing about the others.
    cfg.INPUT.MRI_NOISE = CN()
    # Share of the images that get one.
    cfg.INPUT.MRI_NOISE.PROB = 0.0
    # Which ones to choose from.
    cfg.INPUT.MRI_NOISE.KINDS = ("rician", "motion", "ghosting", "spike", "bias_field", "gibbs", "low_resolution")
    # The least and the greatest strength, from 1 to 5. 4 and 5 hide small protrusions: their labels would then teach
    # what cannot be seen.
    cfg.INPUT.MRI_NOISE.SEVERITY = (1, 3)
