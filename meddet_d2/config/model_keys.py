"""Keys of the networks: backbone, GFL, landmarks, nmODE."""

import torch

from detectron2.config import CfgNode as CN


def add_detector(cfg: CN) -> None:
    # Compile backbone and head (torch.compile), in training and evaluation, and for predictions by a checkpoint. The
    # first image of each size then takes minutes. Without a compiler a warning says so and nothing is compiled.
    cfg.MODEL.COMPILE = False
    # Predict by CUDA graphs, one for each of so many sizes of batch; 0: none. Worth it where one image at a time comes.
    cfg.MODEL.CUDA_GRAPHS = 0
    # Detectron2's default is cuda everywhere; most of this project's users have none.
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

    # The bottom-up network under the FPN (modeling/backbones.py).
    cfg.MODEL.BOTTOM_UP = CN()
    # "torchvision" (resnet50, resnet101, resnet152, mobilenet_v2, efficientnet_b0, efficientnet_b1,
    # shufflenet_v2_x1_0), "timm" (any features_only model) or "meddet_d2" (shufflenet_v1_g1, _g2, _g3, _g4, _g8).
    cfg.MODEL.BOTTOM_UP.LIBRARY = "torchvision"
    # The network's name in that library.
    cfg.MODEL.BOTTOM_UP.NAME = "mobilenet_v2"
    # Strides of the maps that it gives to the FPN; (4, 8, 16, 32) adds p2 for MODEL.GFL.IN_FEATURES.
    cfg.MODEL.BOTTOM_UP.STRIDES = (8, 16, 32)
    # Channels relative to the published network; mobilenet_v2 and shufflenet_v1_* only.
    cfg.MODEL.BOTTOM_UP.WIDTH_MULT = 1.0
    # Load ImageNet weights if the machine can reach them; it warns and starts from random weights otherwise.
    cfg.MODEL.BOTTOM_UP.PRETRAINED = True
    # "BN" as published; "GN", which does not depend on the batch; or "SyncBN", BatchNorm by all processes' images.
    cfg.MODEL.BOTTOM_UP.NORM = "BN"
    # Keep BatchNorm's running statistics as loaded (mmdetection's norm_eval). Only sensible with PRETRAINED.
    cfg.MODEL.BOTTOM_UP.NORM_EVAL = True

    cfg.MODEL.GFL = CN()
    # The FPN's maps that the head runs on, the finest first.
    cfg.MODEL.GFL.IN_FEATURES = ("p3", "p4", "p5", "p6", "p7")
    # 0: as many as the training data has (config/class_names.py). Another number must agree with it.
    cfg.MODEL.GFL.NUM_CLASSES = 0
    # Convolutions in each of the two towers.
    cfg.MODEL.GFL.NUM_CONVS = 4
    # Channels of the towers.
    cfg.MODEL.GFL.CHANNELS = 256
    # "full" 3x3 convolutions in the towers, or "separable" ones: depth-wise 3x3 and 1x1, an eighth of the work.
    cfg.MODEL.GFL.TOWER_CONV = "full"
    # One tower for classes and boxes, as the lightest detectors have it.
    cfg.MODEL.GFL.SHARED_TOWER = False
    # Distances are distributions over the bins 0..REG_MAX, in units of the level's stride.
    cfg.MODEL.GFL.REG_MAX = 16
    # Initialisation of the towers: "normal" is GFL's N(0, 0.01); "he" trains faster from random weights.
    cfg.MODEL.GFL.TOWER_INIT = "normal"
    # The score of every class before training, so that the many cells without an object do not outweigh the others.
    cfg.MODEL.GFL.PRIOR_PROB = 0.01
    # Side of the anchor square in strides.
    cfg.MODEL.GFL.ANCHOR_SCALE = 8
    # Where the anchor's centre lies in its cell, in strides; 0.0: the upper left corner.
    cfg.MODEL.GFL.ANCHOR_OFFSET = 0.0
    # Candidates of each level and object, the nearest ones, from which ATSS chooses.
    cfg.MODEL.GFL.ATSS_TOPK = 9
    # Exponent of the quality focal loss; 0.0: a plain cross entropy.
    cfg.MODEL.GFL.QFL_BETA = 2.0
    # Eq. 12: L_det = lambda L_QF + mu L_DF + (1 - lambda - mu) L_GIoU. The paper gives no values.
    # Lambda: GFL's own weights are 1 : 0.25 : 2, and 4/13 is the first of them divided by their sum, 3.25.
    cfg.MODEL.GFL.LOSS_LAMBDA = 4 / 13
    # Mu: 1/13 is the second.
    cfg.MODEL.GFL.LOSS_MU = 1 / 13
    # A factor of the whole, which gives the sum back.
    cfg.MODEL.GFL.LOSS_GAIN = 3.25
    # Detections with a lower score are dropped.
    cfg.MODEL.GFL.SCORE_THRESH_TEST = 0.05
    # The best of each level that go into the suppression.
    cfg.MODEL.GFL.TOPK_CANDIDATES_TEST = 1000
    # Of two boxes that overlap by a greater IoU the one with the lower score goes.
    cfg.MODEL.GFL.NMS_THRESH_TEST = 0.6
    # For classes that exclude each other: of two boxes in one place, only the better is kept, whatever their classes.
    # It lists a disc once, but loses the lower-scored right class. Measured on the quickstart's student alone (phantom,
    # one seed): AP50 46.7 with it and 68.9 without. So no data set has it by default.
    cfg.MODEL.GFL.NMS_ACROSS_CLASSES = False


def add_landmarks(cfg: CN) -> None:
    # Landmarks by heat maps, of LandmarkDetector (modeling/heatmap/landmark_detector.py). The paper of FSF-LD gives no
    # values that can be read; the defaults are those of Fast Pose Distillation or of the field.
    cfg.MODEL.LANDMARK = CN()
    # The backbone's maps that are used, the finest first; all if empty: an FPN's levels down to the stride that
    # images are padded to (no P6 or P7), or each of the hourglasses.
    cfg.MODEL.LANDMARK.IN_FEATURES = ()
    # 0: as many as the training data has (config/class_names.py). Another number must agree with it.
    cfg.MODEL.LANDMARK.NUM_KEYPOINTS = 0
    # Channels of the map of stride 4 that an FPN's levels are merged to.
    cfg.MODEL.LANDMARK.CHANNELS = 128
    # Standard deviation of a target's Gaussian in cells, which are 4 pixels: Fast Pose Distillation's 2.
    cfg.MODEL.LANDMARK.SIGMA = 2.0
    # Of a heat map: "mse", half the squared error, as Fast Pose Distillation has it; or "adaptive_wing".
    cfg.MODEL.LANDMARK.LOSS = "mse"
    # Adaptive wing's alpha, omega, epsilon and theta, its authors' values.
    cfg.MODEL.LANDMARK.ADAPTIVE_WING = (2.1, 14.0, 1.0, 0.5)
    # The loss of a map is the "mean" over its cells, Fast Pose Distillation's. Or it is "relative" to the squared error
    # of a map of zeros, which then costs 1: hundreds of times more, and the same whatever the image's size. Take
    # "relative" where other losses are added, as below.
    cfg.MODEL.LANDMARK.REDUCTION = "mean"
    # Where the peak lies in a heat map: "dark", which errs least; "quarter" of a cell towards the higher neighbour, as
    # hourglasses are read; the highest cell ("argmax"); or a local "soft_argmax".
    cfg.MODEL.LANDMARK.DECODING = "dark"
    # What is learned: "heatmap", and for a teacher also "offset" and "structure". These two's heads serve training
    # alone: they are left out when it teaches and when it is deployed.
    cfg.MODEL.LANDMARK.TASKS = ("heatmap",)
    # How far around a landmark the offsets to it are learned, as a part of the image's longer side: the 5 % of landmark
    # detection by voting.
    cfg.MODEL.LANDMARK.OFFSET_RADIUS = 0.05
    # Weight of dx's absolute error and of dy's, in radii: 0.5 is that method's 2 : 1 : 1 for the heat map, dx and dy.
    cfg.MODEL.LANDMARK.OFFSET_WEIGHT = 0.5
    # How many structures the data has masks of; for the task "structure".
    cfg.MODEL.LANDMARK.NUM_STRUCTURES = 0
    # Weight of the structures' Dice loss and cross entropy, half the heat map's.
    cfg.MODEL.LANDMARK.STRUCTURE_WEIGHT = 0.5

    # Stacked hourglasses, the backbone "Hourglass" (modeling/heatmap/hourglass.py).
    cfg.MODEL.HOURGLASS = CN()
    # How many: 8 of 256 channels are Fast Pose Distillation's teacher, 4 of 128 its student.
    cfg.MODEL.HOURGLASS.STACKS = 8
    # Channels of each stack's map.
    cfg.MODEL.HOURGLASS.CHANNELS = 256


def add_nmode(cfg: CN) -> None:
    # The neural-memory ODE as an activation (modeling/nmode/nmode_block.py).
    cfg.MODEL.NMODE = CN()
    # "none", "nmode" (eq. 2) or "nmode2" (eq. 4).
    cfg.MODEL.NMODE.KIND = "none"
    # Any of "backbone", "fpn", "head" (Table IV).
    cfg.MODEL.NMODE.PLACES = ("head",)
    # What the next layer sees: "plain" y (figure 3), "residual" x + y, or "gated" x * y. Plain folds the sign of x
    # and hurts early training: docs/methods/nmode.md has the measured comparison behind this default and the next.
    cfg.MODEL.NMODE.READOUT = "residual"
    # In a tower: in place of the last ReLU ("before") or "after" it. In its place costs the head a nonlinearity.
    cfg.MODEL.NMODE.RELU = "after"
    # Where w of gamma = w * x + b starts, per channel: so small that x + y rises everywhere, as y(gamma)'s slope is at
    # most 1.4.
    cfg.MODEL.NMODE.INIT_W = 0.3
    # Where b starts: at pi / 2 y(gamma) has its lowest point, 0, so that the residual form starts close to x.
    cfg.MODEL.NMODE.INIT_B = 1.5708
    # Integration runs over [0, T_END]. Near 1: the slope of y(gamma) is 1.4 at 1, 3.9 at 2, 17 at 5.
    cfg.MODEL.NMODE.T_END = 1.0
    # "flow_map" (y(T_END) tabulated once, at about the price of an activation; T_END up to about 5), "rk4" (ours, fixed
    # steps) or "odeint" (torchdiffeq): the latter two as the reference, and for a y(0) other than 0.
    cfg.MODEL.NMODE.SOLVER = "flow_map"
    # Steps of "rk4".
    cfg.MODEL.NMODE.RK4_STEPS = 4
    # torchdiffeq's method for "odeint".
    cfg.MODEL.NMODE.ODEINT_METHOD = "dopri5"
    # Relative tolerance of a method that chooses its own steps.
    cfg.MODEL.NMODE.ODEINT_RTOL = 1e-3
    # Absolute tolerance of such a method.
    cfg.MODEL.NMODE.ODEINT_ATOL = 1e-3
