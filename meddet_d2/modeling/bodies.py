"""Classification networks of torchvision and timm as feature extractors at chosen strides.

A body maps (N, 3, H, W), H and W multiples of its last stride, to a list of maps, (N, C_l, H / s, W / s) for its
strides s. It knows its stages: the stem (all that comes before stride 4) and the parts of stride 4, 8, 16 and 32.
"""

import difflib
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NamedTuple, cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

logger = logging.getLogger(__name__)

STRIDES = (4, 8, 16, 32)
DOWNLOAD_TIMEOUT = 10.0  # seconds


class Body(nn.Module):
    """Children that run one after another, tapped at some strides. Subclasses may run otherwise.

    Attributes:
        channels: of the maps, one for each stride.
    """

    channels: list[int]

    def set_children(
        self, children: Iterable[tuple[str, nn.Module]], stages: tuple[str, ...], taps: tuple[str, ...]
    ) -> None:
        """Take children, with their names, up to the last tap.

        Args:
            children: in the order in which they run.
            stages: names of the first child of stride 4, 8, 16, 32.
            taps: names of the children whose outputs are the maps.
        """
        self.stages, self.taps = stages, taps
        for name, module in children:
            self.add_module(name, module)
            if name == taps[-1]:
                break

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for name, module in self.named_children():
            x = module(x)
            if name in self.taps:
                features.append(x)
        return features

    def stage_parameters(self, count: int) -> list[nn.Parameter]:
        """Parameters of the first ``count`` stages, 0 to 5."""
        children = dict(self.named_children())
        names = list(children)
        ends = (0, *(names.index(first) if first in children else len(names) for first in self.stages), len(names))
        return [p for name in names[: ends[count]] for p in children[name].parameters()]


class _Layout(NamedTuple):
    taps: tuple[str, str, str, str]  # the children whose outputs are the maps at strides 4, 8, 16, 32
    stages: tuple[str, str, str, str]  # the first child of stride 4, 8, 16, 32
    channels: tuple[int, int, int, int]  # of the maps of the published network


_RESNET_LAYERS = ("layer1", "layer2", "layer3", "layer4")
_RESNET = _Layout(_RESNET_LAYERS, _RESNET_LAYERS, (256, 512, 1024, 2048))
# Tapped before its last 1x1 convolution, as detectors on EfficientNet are (EfficientDet, mmdetection's RetinaNet).
_EFFICIENTNET = _Layout(("2", "3", "5", "7"), ("2", "3", "4", "6"), (24, 40, 112, 320))
# Nothing but the pooling is at stride 4.
SHUFFLENET_STAGES = ("maxpool", "stage2", "stage3", "stage4")
TORCHVISION_LAYOUTS = {
    "resnet50": _RESNET,
    "resnet101": _RESNET,
    "resnet152": _RESNET,
    # Tapped at its last 1x1 convolution, which is what makes the paper's student 10.42 M parameters.
    "mobilenet_v2": _Layout(("3", "6", "13", "18"), ("2", "4", "7", "14"), (24, 32, 96, 1280)),
    "efficientnet_b0": _EFFICIENTNET,
    "efficientnet_b1": _EFFICIENTNET,
    "shufflenet_v2_x1_0": _Layout(SHUFFLENET_STAGES, SHUFFLENET_STAGES, (24, 116, 232, 464)),
}


class TorchvisionBody(Body):
    """A torchvision network up to the last tapped child; the children keep torchvision's names.

    Args:
        name: a key of ``TORCHVISION_LAYOUTS``.
        strides: of the maps, in ``STRIDES``.
        width_mult: channels relative to the published network; mobilenet_v2 only.
        pretrained: load ImageNet weights if they can be reached.

    Raises:
        ValueError: the name is unknown, or the network has no ``width_mult`` or not these strides.
    """

    def __init__(self, *, name: str, strides: tuple[int, ...], width_mult: float = 1.0, pretrained: bool = False):
        super().__init__()
        if name not in TORCHVISION_LAYOUTS:
            raise ValueError(unknown_name("torchvision", name, TORCHVISION_LAYOUTS))
        if name != "mobilenet_v2" and width_mult != 1.0:
            raise ValueError(f"MODEL.BOTTOM_UP.WIDTH_MULT is for mobilenet_v2; set it to 1.0 for {name}.")
        chosen = places(f"torchvision's {name}", STRIDES, strides)
        width = {"width_mult": width_mult} if name == "mobilenet_v2" else {}
        model = torchvision.models.get_model(name, weights=None, **width)
        if pretrained:
            _or_random_weights(f"torchvision's {name}", lambda: _load_torchvision(model, name, width_mult))

        layout = TORCHVISION_LAYOUTS[name]
        # MobileNet and EfficientNet keep all but the classifier in "features".
        children = cast(nn.Module, getattr(model, "features", model)).named_children()
        self.set_children(children, layout.stages, tuple(layout.taps[i] for i in chosen))
        self.channels = [layout.channels[i] for i in chosen]
        if name == "mobilenet_v2":
            self.channels = [cast(Any, self.get_submodule(tap)).out_channels for tap in self.taps]


class TimmBody(Body):
    """A timm network with ``features_only``; its maps are the last at each of the strides.

    Some networks are built for one size of image. Theirs is the largest that ``largest_side`` allows: smaller images
    are padded to it, with zeros, and the maps are cropped again.

    Args:
        name: a timm model, with or without a tag of its weights.
        strides: of the maps.
        pretrained: load ImageNet weights if they can be reached.
        largest_side: of the images, in pixels.

    Raises:
        ValueError: the name is unknown, the network has no feature maps at these strides, or it does not run on images
            of that size; the message names it and says why.
    """

    def __init__(self, *, name: str, strides: tuple[int, ...], pretrained: bool = False, largest_side: int = 512):
        super().__init__()
        if not timm.is_model(name):
            raise ValueError(unknown_name("timm", name, timm.list_models()))
        plan = _plan(name, strides, -(-largest_side // strides[-1]) * strides[-1])
        model = _create(name, plan.taps, **plan.arguments)
        if pretrained:
            model = _or_random_weights(f"timm's {name}", lambda: _load_timm(name, plan)) or model
        self.name, self.strides, self.model, self.side = name, strides, model, plan.side
        self.channels = list(model.feature_info.channels())
        if plan.side is not None:
            logger.info("timm's %s takes one size of image: all are padded to %dx%d.", name, plan.side, plan.side)

    def forward(self, x: Tensor) -> list[Tensor]:
        if self.side is None:
            return _maps(self.model, x)
        height, width = x.shape[-2:]
        if max(height, width) > self.side:
            raise ValueError(
                f"timm's {self.name} is built for images of at most {self.side} pixels, not {height}x{width}; "
                "raise INPUT.MAX_SIZE_TRAIN or INPUT.MAX_SIZE_TEST and train it again."
            )
        maps = _maps(self.model, F.pad(x, (0, self.side - width, 0, self.side - height)))
        return [m[..., : height // s, : width // s] for m, s in zip(maps, self.strides, strict=True)]

    def stage_parameters(self, count: int) -> list[nn.Parameter]:
        """Parameters of the first ``count`` stages, 0 to 5.

        Raises:
            ValueError: timm does not say the stages of this network.
        """
        if count == 0:
            return []
        # timm registers the parts of a network in the order in which they run and names the part that ends a stride.
        # Where it flattens the network it writes "stages_0" for "stages.0".
        part = {entry["reduction"]: entry["module"] for entry in cast(Any, self.model.feature_info).info}
        end_of_stage = part.get(4 if count == 1 else 2**count, "")
        modules = list(self.model.named_modules())
        inside = [
            i
            for i, (name, _) in enumerate(modules)
            if end_of_stage and f"{name}.".startswith((f"{end_of_stage}.", f"{end_of_stage.replace('.', '_')}."))
        ]
        if not inside:
            raise ValueError(f"MODEL.BACKBONE.FREEZE_AT {count}: timm does not say the stages of this network; set 0.")
        end = inside[0] if count == 1 else inside[-1] + 1
        return [p for _, module in modules[:end] for p in module.parameters(recurse=False)]


class _Plan(NamedTuple):
    """How a timm network is built."""

    taps: tuple[int, ...]  # of its feature maps
    arguments: dict[str, Any]  # beside its name
    side: int | None  # the only height and width that it takes; None: it takes any


@lru_cache(maxsize=64)
def _plan(name: str, strides: tuple[int, ...], side: int) -> _Plan:
    """Find how a network runs on images of any size, or else of ``side``, by forward passes without memory."""
    with torch.device("meta"):
        try:
            info: Any = timm.create_model(name, features_only=True).feature_info
        except (RuntimeError, AssertionError) as error:  # how timm says that there is no features_only variant
            raise ValueError(
                f"MODEL.BOTTOM_UP.NAME: timm's {name} gives no feature maps ({first_line(error)})."
            ) from error
        # Of all maps that the network has, and not only of timm's default choice.
        taps = places(f"timm's {name}", info.reduction(list(range(len(info.info)))), strides)
        reason = ""
        for arguments, fixed in (
            ({}, False),
            ({"strict_img_size": False}, False),
            ({"dynamic_img_size": True}, False),
            ({"img_size": side}, True),
            ({}, True),
        ):
            try:
                model = _create(name, taps, **arguments).eval()
                for height, width in ((side, side),) if fixed else ((side, side), (5 * strides[-1], 7 * strides[-1])):
                    for level, stride in zip(_maps(model, torch.zeros(1, 3, height, width)), strides, strict=True):
                        if level.shape[-2:] != (height // stride, width // stride):
                            raise ValueError(f"a map of stride {stride} is {level.shape[-2]}x{level.shape[-1]}")
            except TypeError:  # the network has no such argument
                continue
            # Attention, windows and relative positions each fail in a different way.
            except Exception as error:
                reason = reason or first_line(error)
            else:
                return _Plan(taps, arguments, side if fixed else None)
    raise ValueError(
        f"MODEL.BOTTOM_UP.NAME: timm's {name} does not run on images of {side}x{side} ({reason}); choose another."
    )


def _create(name: str, taps: tuple[int, ...], **arguments: Any) -> Any:
    return timm.create_model(name, features_only=True, out_indices=taps, **arguments)


def _maps(model: nn.Module, x: Tensor) -> list[Tensor]:
    features = model(x)
    if str(getattr(model, "output_fmt", "")).endswith("NHWC"):
        return [f.permute(0, 3, 1, 2).contiguous() for f in features]
    return features


def places(what: str, available: Iterable[int], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Where each stride is the last of those available.

    Raises:
        ValueError: one is not there; the message begins with ``what``, the network.
    """
    last = {stride: i for i, stride in enumerate(available)}
    if not set(strides) <= set(last):
        raise ValueError(
            f"MODEL.BOTTOM_UP.NAME: {what} has feature maps at strides {sorted(last)}; choose a network that has those "
            f"of MODEL.BOTTOM_UP.STRIDES, {', '.join(map(str, strides))}."
        )
    return tuple(last[stride] for stride in strides)


def _load_torchvision(model: nn.Module, name: str, width_mult: float) -> None:
    if width_mult != 1.0:
        raise ValueError(f"there are none for WIDTH_MULT {width_mult}")
    # The first set: it is the one that detectors are usually started from, mmdetection's among them.
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    model.load_state_dict(weights.get_state_dict(progress=False, check_hash=True))


def _load_timm(name: str, plan: _Plan) -> Any:
    from huggingface_hub import constants, try_to_load_from_cache

    # The hub's client tries an unreachable host for most of a minute; one short request is enough to know.
    pretrained = timm.get_pretrained_cfg(name)
    hub_id = pretrained.hf_hub_id if pretrained else None
    files = ("model.safetensors", "pytorch_model.bin")
    cached = hub_id and any(isinstance(try_to_load_from_cache(hub_id, file), str) for file in files)
    if hub_id and not cached and not constants.HF_HUB_OFFLINE:
        with suppress(HTTPError):  # whatever it answers, it is there
            urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=DOWNLOAD_TIMEOUT).close()
    return _create(name, plan.taps, pretrained=True, **plan.arguments)


def _or_random_weights(what: str, load: Callable[[], Any]) -> Any:
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT):
            return load()
    # Downloaders and file formats raise many types. Weights are a help and not a need, and a warning names the cause.
    except Exception as error:
        warn_of_random_weights(what, first_line(error))
        return None


def warn_of_random_weights(what: str, reason: str) -> None:
    logger.warning(
        "No ImageNet weights for %s (%s): it starts from random weights. Then MODEL.BACKBONE.FREEZE_AT 0 and "
        "MODEL.BOTTOM_UP.NORM GN (or NORM_EVAL False) are needed to train well.",
        what,
        reason,
    )


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    # torch.hub opens its URL without a timeout and offers no argument for one.
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)


def unknown_name(library: str, name: str, known: Iterable[str]) -> str:
    """One line for MODEL.BOTTOM_UP.NAME: what is unknown, and all known names, or the likeliest of many."""
    known = sorted(known)
    if len(known) > 8:
        known = difflib.get_close_matches(name, known, n=4, cutoff=0.5) or known[:4]
    return f"MODEL.BOTTOM_UP.NAME: {library} has no {name!r} here; choose for example {', '.join(known)}."


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
