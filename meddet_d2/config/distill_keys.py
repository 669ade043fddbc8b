"""Keys of distillation: what all methods share, and a section for each method."""

from detectron2.config import CfgNode as CN


def add_distillation(cfg: CN) -> None:
    cfg.DISTILL = CN()
    # Train with teachers (engine/trainer.py, DistillationTrainer).
    cfg.DISTILL.ENABLED = False
    # A name in DISTILLER_REGISTRY.
    cfg.DISTILL.METHOD = "MedDet"
    # Number format of the teachers and of what learns from them, not of the student: "fp32", "bf16", "fp16" (GPUs only,
    # and for the teachers only), or "auto", the fastest that the hardware computes in (hardware/precision.py).
    cfg.DISTILL.PRECISION = "auto"

    cfg.DISTILL.TEACHERS = CN()
    # Config files. A relative path is looked up beside the config that names it (or inherits it by _BASE_), and then
    # from the working directory.
    # KEY VALUE pairs may follow a config's name, as on a command line: "teacher.yaml MODEL.BOTTOM_UP.NAME resnet18".
    cfg.DISTILL.TEACHERS.CONFIGS = ()
    # Their checkpoints in the same order; a relative path is looked up from the working directory.
    cfg.DISTILL.TEACHERS.WEIGHTS = ()
    # Indices of the teachers to use, all if empty; one that is not used needs no checkpoint and costs nothing.
    cfg.DISTILL.TEACHERS.USE = ()
    # Train a teacher whose checkpoint does not exist; otherwise a missing one is an error.
    cfg.DISTILL.TEACHERS.TRAIN_MISSING = False
    # Resume although a teacher's file is another than the one the run began with, which a checkpoint remembers.
    cfg.DISTILL.TEACHERS.ACCEPT_CHANGED = False
    # Overrides (KEY, VALUE, KEY, VALUE, ...) of the teachers' configs when they are trained for this run.
    cfg.DISTILL.TEACHERS.OPTS = ()
    # Keys and sections of this config that a teacher takes over when it is trained or evaluated for this run, so that
    # it learns from the same data. A teacher that needs other data or inputs keeps what is not named here.
    cfg.DISTILL.TEACHERS.INHERIT = ("DATASETS", "INPUT", "DATALOADER", "SEED")
    # GiB in which to remember the teachers' maps of images that come again unchanged, so that the frozen networks run
    # once for each image; 0: none. Of use where nothing is random in training's images (INPUT.INTENSITY_JITTER 0.0,
    # RANDOM_FLIP "none", one MIN_SIZE_TRAIN); three teachers at 512 x 512 need 16.8 MB an image.
    cfg.DISTILL.TEACHERS.CACHE_GIB = 0.0
    # A folder in which to keep these maps from run to run; "": none. The first run over the data fills it. A teacher
    # that is trained again has other files.
    cfg.DISTILL.TEACHERS.CACHE_DIR = ""
    # How many GiB that folder may take.
    cfg.DISTILL.TEACHERS.CACHE_DIR_GIB = 100.0
    # Evaluate every teacher before distillation, so that a broken one is noticed.
    cfg.DISTILL.TEACHERS.EVALUATE = True
    # Also train the student without teachers, to compare with, in OUTPUT_DIR/student_alone.
    cfg.DISTILL.TRAIN_ALONE = False
    # The distilled student begins with the weights of the student alone, of the file in that folder. Fast Pose
    # Distillation gained from it, and from scratch came below the student alone. False: from MODEL.WEIGHTS, as any
    # training.
    cfg.DISTILL.WARM_START = False
    # How the weight of L_dist, or of all distillation losses of another method, goes over the run: "constant", or
    # "linear" or "cosine" down to zero at the end. Late in training imitation may hold a student back.
    cfg.DISTILL.DIST_SCHEDULE = "constant"


def add_meddet(cfg: CN) -> None:
    cfg.DISTILL.MEDDET = CN()
    # Sigma of eq. 14: L = gain * (sigma L_det + tau L_dist + (1 - sigma - tau) L_adv). The paper gives no values.
    # The three stand for 1 : 48.9 : 0.1, and the gain 1 / sigma leaves L_det at its full size, so that a learning rate
    # found without distillation still fits. Found on the phantom (docs/results/phantom.md): a weak imitation gained
    # nothing over the student alone, and four times as much was no better. Late in training the student overfits the
    # labels. Imitation reduces that.
    cfg.DISTILL.MEDDET.SIGMA = 0.02
    # Tau, the share of L_dist; what both leave is L_adv's.
    cfg.DISTILL.MEDDET.TAU = 0.978
    # The gain, a factor of the whole.
    cfg.DISTILL.MEDDET.GAIN = 50.0
    # Weight of each of the student's levels, the finest first, in L_dist and L_adv. At 512 x 512 every positive of a
    # disc lies on P3.
    cfg.DISTILL.MEDDET.LEVEL_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0)
    # Eq. 13's squared difference: its "sum" over a map per image, its "mean", the mean "relative" to the fused map's
    # variance (so 1.0 is what predicting the mean gives, whatever the teachers' scale; a level's variance counts as at
    # least 1 % of the largest level's), or "standardized": the same for each channel by itself.
    cfg.DISTILL.MEDDET.DIST_REDUCTION = "standardized"
    # Fraction of L_dist given to cells inside boxes, where the discs are: they cover some 5 % of an image. 0.0 weighs
    # all cells equally.
    cfg.DISTILL.MEDDET.DIST_FOREGROUND = 0.0

    # How the teachers' maps become one (eq. 7 to 11).
    cfg.DISTILL.MEDDET.FUSION = CN()
    # A name in FUSION_REGISTRY: "LWFF", "Sum" or "Concat" (Table V).
    cfg.DISTILL.MEDDET.FUSION.NAME = "LWFF"
    # After eq. 7's convolution: "sigmoid", "softmax" (across teachers) or "none" (as the equation is printed).
    cfg.DISTILL.MEDDET.FUSION.ACTIVATION = "sigmoid"
    # Before anything is learned the fused map is the "mean" of the teachers' aligned maps, as "Sum" is, or the "lead"
    # teacher's own. Mean: on the phantom it is a slightly better map in the end (docs/how_to/distil.md).
    cfg.DISTILL.MEDDET.FUSION.START = "mean"
    # Index, among the teachers in use, of the lead: its frozen head teaches AFA and the fusion. (Through L_dist alone
    # they would learn a constant.)
    cfg.DISTILL.MEDDET.FUSION.LEAD_TEACHER = 0
    # Weight of that head's loss. It teaches nothing else, so its size matters as a learning rate does.
    cfg.DISTILL.MEDDET.FUSION.LOSS_WEIGHT = 1.0
    # Share of a step's images, of all processes together and rounded up, that this head teaches on: at 1.0 that is the
    # dearest part of the method.
    cfg.DISTILL.MEDDET.FUSION.SHARE = 0.125

    # The adversarial auxiliary teacher module.
    cfg.DISTILL.MEDDET.AATM = CN()
    # With a discriminator and L_adv (Table III's last row). The generator goes by its own key alone.
    cfg.DISTILL.MEDDET.AATM.ENABLED = True
    # G of eq. 13, between the student's aligned maps and the fused ones: "plain", two convolutions as printed;
    # "residual", which adds them to the map and starts as the identity; "none". If the generator replaced the map it
    # could do the imitation alone: on the phantom the plain one came to 1.6 AP50 below none, the residual one to 0.4
    # (docs/how_to/distil.md).
    cfg.DISTILL.MEDDET.AATM.GENERATOR = "residual"
    # Fraction of the run before L_adv acts on the student; the discriminator learns from the start.
    cfg.DISTILL.MEDDET.AATM.WARMUP = 0.2
    # The generator's loss: "non_saturating" -log D(G), or "minimax" log(1 - D(G)) as in eq. 1.
    cfg.DISTILL.MEDDET.AATM.GENERATOR_LOSS = "non_saturating"
    # Each map is pooled to POOL x POOL before the discriminator, so that any image size works.
    cfg.DISTILL.MEDDET.AATM.POOL = 4
    # Widths of the first two of the discriminator's three fully connected layers; the last has one output.
    cfg.DISTILL.MEDDET.AATM.HIDDEN = (256, 64)
    # Standardise both inputs per channel, so that the discriminator cannot win by scale alone.
    cfg.DISTILL.MEDDET.AATM.STANDARDIZE = True
    # Target for real maps; 0.9 is one-sided label smoothing, against a discriminator that is too sure.
    cfg.DISTILL.MEDDET.AATM.REAL_LABEL = 1.0
    # Rate of the discriminator's Adam. It and the next are DCGAN's values, usual where two networks compete.
    cfg.DISTILL.MEDDET.AATM.LR = 2e-4
    # Decay of Adam's two moving averages.
    cfg.DISTILL.MEDDET.AATM.BETAS = (0.5, 0.999)
    # Greatest norm of all the discriminator's gradients together; 0.0: as they are. SOLVER.CLIP_GRADIENTS does not
    # reach them.
    cfg.DISTILL.MEDDET.AATM.CLIP_GRADIENTS = 0.0


def add_other_methods(cfg: CN) -> None:
    # What MedDet is compared with. Every default is the published one for one-stage detectors, found for maps of 256
    # channels and one teacher; where losses are sums over a map they grow with the image.
    cfg.DISTILL.FITNETS = CN()
    # Of the mean squared difference over all cells; LD's code has this weight for the cells inside of boxes.
    cfg.DISTILL.FITNETS.WEIGHT = 2.0

    cfg.DISTILL.MGD = CN()
    # Weight of the summed squared difference.
    cfg.DISTILL.MGD.ALPHA = 2e-5
    # Probability that a cell of the student's map is hidden.
    cfg.DISTILL.MGD.DROP = 0.65

    cfg.DISTILL.FGD = CN()
    # Of both attentions' softmax; below 1 it sharpens them.
    cfg.DISTILL.FGD.TEMPERATURE = 0.5
    # Weight of the summed squared difference inside of the boxes.
    cfg.DISTILL.FGD.ALPHA = 1e-3
    # The same outside of the boxes.
    cfg.DISTILL.FGD.BETA = 5e-4
    # Weight of the difference of the attentions.
    cfg.DISTILL.FGD.GAMMA = 5e-4
    # Weight of the difference of the relations.
    cfg.DISTILL.FGD.LAMBDA = 5e-6

    cfg.DISTILL.LD = CN()
    # Weight of the distances' distributions at the positives. It is a sum over them, so it grows with
    # SOLVER.IMS_PER_BATCH; LD's authors have no more than 3 images in a sum (a process's; the mean over the processes).
    cfg.DISTILL.LD.WEIGHT = 0.25
    # The same in the valuable region around them.
    cfg.DISTILL.LD.VLR_WEIGHT = 0.25
    # Where that region begins, as a part of a box's ATSS threshold: at 1.0 it would be empty.
    cfg.DISTILL.LD.VLR_RATIO = 0.25
    # Softens the distances' distributions, so that the less likely bins count too.
    cfg.DISTILL.LD.TEMPERATURE = 10.0
    # Weight of the classes at the positives.
    cfg.DISTILL.LD.KD_WEIGHT = 10.0
    # Temperature of the classes' distributions.
    cfg.DISTILL.LD.KD_TEMPERATURE = 2.0
    # The classes are compared as published after a "softmax" over them, or each by its "sigmoid", as GFL scores them:
    # the softmax does not see how sure a score is.
    cfg.DISTILL.LD.KD_ACTIVATION = "softmax"


def add_fsf_ld(cfg: CN) -> None:
    # Landmarks by shared features: L = (1 - a) L_gt + a L_heat + b L_feat. The paper's values cannot be read.
    cfg.DISTILL.FSFLD = CN()
    # a, the share of the teacher's heat map: Fast Pose Distillation's; 0.0: features alone.
    cfg.DISTILL.FSFLD.ALPHA = 0.5
    # Of the features, as a part of the student's loss at the first step: 1.0, as nothing is known, means that both
    # begin alike; 0.0: the heat map alone.
    cfg.DISTILL.FSFLD.BETA = 1.0
    # Which of the student's maps are shared, by index: an FPN's merged map is 0, then come its levels, and of
    # hourglasses there is one for each stack; empty: all, as features at several depths are the paper's point.
    cfg.DISTILL.FSFLD.LEVELS = ()
    # Compare maps with each channel at mean 0 and variance 1 in each image, so that no channel counts by its scale.
    cfg.DISTILL.FSFLD.STANDARDISE = True
    # The teacher's frozen head also reads the student's projected map: sharing taken literally. Nothing that can be
    # read says so.
    cfg.DISTILL.FSFLD.SHARE_HEAD = False
    # Weight of that head's loss, which is of the kind of L_gt.
    cfg.DISTILL.FSFLD.SHARE_WEIGHT = 1.0


def add_landmark_methods(cfg: CN) -> None:
    # What FSF-LD is compared with.
    cfg.DISTILL.FPD = CN()
    # The share of the teacher's heat map in the loss, as published.
    cfg.DISTILL.FPD.ALPHA = 0.5

    cfg.DISTILL.OKDHP = CN()
    # Weight of the divergence at the end of its ramp, that of the published script.
    cfg.DISTILL.OKDHP.WEIGHT = 2.0

    cfg.DISTILL.DWPOSE = CN()
    # Weight of the map's mean squared difference: the published 7e-5 of a sum over 1024 x 8 x 6 values.
    cfg.DISTILL.DWPOSE.ALPHA = 3.44
    # Weight of the divergence of the outputs, as published.
    cfg.DISTILL.DWPOSE.BETA = 0.1
