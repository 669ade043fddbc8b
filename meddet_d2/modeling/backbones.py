"""Bottom-up networks and the feature pyramid of GFL on top of them, P3..P7 by default.

Shape legend:
    N: images; H, W: height and width of the padded batch in pixels; C: channels of a level

c3, c4, c5 are the bottom-up maps at strides 8, 16, 32, and p3..p7 the pyramid's at strides 8..128; so p3 is
(N, C, H / 8, W / 8). With MODEL.BOTTOM_UP.STRIDES (4, 8, 16, 32) there are c2 and p2, too.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone

from ..config.arguments import arguments, require, require_choice
from .bodies import TimmBody, TorchvisionBody
from .nmode.nmode_block import build_nmode, nmode_kwargs
from .norms import NORMS, replace_batch_norm
from .shufflenet import ShuffleNetBody

LIBRARIES: dict[str, Callable[..., Any]] = {
    "torchvision": TorchvisionBody,
    "timm": TimmBody,
    "meddet_d2": ShuffleNetBody,
}


class BottomUp(Backbone):
    """A classification network as a feature extractor: "c3", "c4", "c5" at strides 8, 16, 32, or others.

    Args:
        library: "torchvision" (the names in ``TORCHVISION_LAYOUTS``), "timm" (any features_only model) or
            "meddet_d2" (the names in ``SHUFFLENETS``).
        name: the network's name in that library.
        strides: of the outputs, powers of two, each twice the one before; stride 2^l is called "c<l>".
        largest_side: of the images, in pixels; for timm's networks that take one size.
        width_mult: channels relative to the published network; mobilenet_v2 and ShuffleNet v1 only.
        pretrained: load ImageNet weights. Where they cannot be had, a warning is logged and the weights are random.
        norm: "BN" for the network's own; "GN" or "SyncBN" to put GroupNorm, or BatchNorm over all processes, in the
            place of every BatchNorm.
        norm_eval: keep BatchNorm in evaluation mode during training (its affine parameters still learn).
        freeze_at: how many stages are frozen: 0 none, 1 the stem (all before stride 4), 2 also the stage of stride 4,
            and so on to 5, all. BatchNorm of a frozen stage stays in evaluation mode.
        nmode: arguments of ``build_nmode`` for a block after each output, or None.

    Raises:
        ValueError: for an unknown name or setting; the message names the config key.
    """

    @configurable
    def __init__(
        self,
        *,
        library: str,
        name: str,
        strides: tuple[int, ...] = (8, 16, 32),
        largest_side: int = 512,
        width_mult: float = 1.0,
        pretrained: bool = False,
        norm: str = "BN",
        norm_eval: bool = False,
        freeze_at: int = 0,
        nmode: dict[str, Any] | None = None,
    ):
        super().__init__()
        require_choice("MODEL.BOTTOM_UP.LIBRARY", library, LIBRARIES)
        require_choice("MODEL.BOTTOM_UP.NORM", norm, NORMS)
        require(freeze_at in range(6), "MODEL.BACKBONE.FREEZE_AT", freeze_at, "an integer from 0 to 5")
        strides = tuple(strides)
        doubled = tuple(strides[0] << i for i in range(len(strides)))
        good = bool(strides) and strides == doubled and strides[0].bit_count() == 1
        expected = "powers of two, each twice the one before: (8, 16, 32)"
        require(good, "MODEL.BOTTOM_UP.STRIDES", strides, expected)
        only: dict[str, Any] = {"width_mult": width_mult}
        if library == "timm":
            require(width_mult == 1.0, "MODEL.BOTTOM_UP.WIDTH_MULT", width_mult, "1.0 with timm")
            only = {"largest_side": largest_side}
        body = LIBRARIES[library](name=name, strides=strides, pretrained=pretrained, **only)

        # Before the conversion of the norms, which keeps their parameters and not their names.
        for parameter in body.stage_parameters(freeze_at):
            parameter.requires_grad_(False)
        self.body = replace_batch_norm(body, norm)
        self.norm_eval = norm_eval
        self._output_shape = {
            f"c{stride.bit_length() - 1}": ShapeSpec(channels=c, stride=stride)
            for c, stride in zip(body.channels, strides, strict=True)
        }
        self.nmode = None
        if nmode is not None:
            blocks = {f: build_nmode(channels=shape.channels, **nmode) for f, shape in self._output_shape.items()}
            self.nmode = nn.ModuleDict(blocks)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {
            **arguments(BottomUp, cfg.MODEL.BOTTOM_UP),
            "largest_side": max(cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TEST),
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
            "nmode": nmode_kwargs(cfg, "backbone"),
        }

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map (N, 3, H, W), H and W multiples of the last stride, to {"c3", "c4", "c5"}, or those of the strides."""
        features = dict(zip(self._output_shape, self.body(images), strict=True))
        if self.nmode is not None:
            features = {name: self.nmode[name](feature) for name, feature in features.items()}
        return features

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._output_shape)

    def train(self, mode: bool = True) -> "BottomUp":
        super().train(mode)
        for module in self.body.modules():
            if isinstance(module, nn.BatchNorm2d) and (self.norm_eval or not _learns(module)):
                module.eval()
        return self


class TopBlockP6P7(nn.Module):
    """P6 and P7: 3x3 convolutions of stride 2 on P5 and on P6, without RetinaNet's ReLU before P7. Or P5 on P4.

    Args:
        channels: of input and outputs.
        norm: as ``detectron2.layers.get_norm`` takes it; "" for none.
        in_feature: name of the input.
        num_levels: 2, or 1 for P6 alone, or more.
    """

    def __init__(self, *, channels: int, norm: str = "", in_feature: str = "p5", num_levels: int = 2):
        super().__init__()
        self.in_feature = in_feature
        self.num_levels = num_levels
        self.convs = nn.ModuleList(
            Conv2d(channels, channels, 3, stride=2, padding=1, bias=norm == "", norm=get_norm(norm, channels))
            for _ in range(num_levels)
        )

    def forward(self, feature: Tensor) -> list[Tensor]:
        outputs = []
        for conv in self.convs:
            feature = conv(feature)
            outputs.append(feature)
        return outputs


class GFLFPN(FPN):
    """The pyramid P3..P7 as GFL has it: from c3, c4, c5, with P6 and P7 made of P5. Or from the outputs that there are.

    Args:
        bottom_up: gives "c3", "c4", "c5", or others.
        out_channels: C of every level.
        norm: as ``detectron2.layers.get_norm`` takes it; "" for none.
        top_levels: of P6 and P7, how many there are. A convolution that nothing reads would never get a gradient, for
            which DistributedDataParallel waits.
        nmode: arguments of ``build_nmode`` for a block after each output, or None. P6 and P7 are made of P5 as it
            is before its block.
    """

    def __init__(
        self,
        *,
        bottom_up: Backbone,
        out_channels: int,
        norm: str = "",
        top_levels: int = 2,
        nmode: dict[str, Any] | None = None,
    ):
        features = list(bottom_up.output_shape())
        top_block = None
        if top_levels:
            last = features[-1].replace("c", "p")
            top_block = TopBlockP6P7(channels=out_channels, norm=norm, in_feature=last, num_levels=top_levels)
        super().__init__(
            bottom_up=bottom_up, in_features=features, out_channels=out_channels, norm=norm, top_block=top_block
        )
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith("bottom_up."):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.nmode = None
        if nmode is not None:
            self.nmode = nn.ModuleDict({p: build_nmode(channels=out_channels, **nmode) for p in self.output_shape()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map (N, 3, H, W), H and W multiples of 32, to {"p3", ..., "p7"}, or to as many of them as there are."""
        features = super().forward(images)
        if self.nmode is not None:
            features = {name: self.nmode[name](feature) for name, feature in features.items()}
        return features


@BACKBONE_REGISTRY.register()
def build_gfl_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> GFLFPN:
    """Build ``cfg.MODEL.BOTTOM_UP`` with the pyramid ``cfg.MODEL.FPN`` (OUT_CHANNELS, NORM) on top.

    P6 and P7, which no bottom-up network gives, are there if ``cfg.MODEL.GFL.IN_FEATURES`` names them.

    Raises:
        ValueError: the input is not of three channels, or a key holds an unknown value.
    """
    return _pyramid(cfg, input_shape, cfg.MODEL.GFL.IN_FEATURES)


@BACKBONE_REGISTRY.register()
def build_landmark_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> GFLFPN:
    """The same for landmarks, which have no use for P6 and P7.

    Raises:
        ValueError: as :func:`build_gfl_fpn_backbone`.
    """
    return _pyramid(cfg, input_shape, ())


def _pyramid(cfg: CfgNode, input_shape: ShapeSpec, in_features: Sequence[str]) -> GFLFPN:
    if input_shape.channels != 3:
        raise ValueError(f"MODEL.PIXEL_MEAN has {input_shape.channels} values, but the backbones take 3 channels.")
    bottom_up = BottomUp(cfg)
    last = max(shape.stride for shape in bottom_up.output_shape().values()).bit_length() - 1
    used = [int(name[1:]) for name in in_features if name[1:].isdecimal()]
    return GFLFPN(
        top_levels=max(max(used, default=0) - last, 0),
        bottom_up=bottom_up,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        nmode=nmode_kwargs(cfg, "fpn"),
    )


def _learns(module: nn.Module) -> bool:
    return all(parameter.requires_grad for parameter in module.parameters(recurse=False))
