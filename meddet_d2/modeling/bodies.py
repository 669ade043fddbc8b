"""Classification networks of torchvision and timm as feature extractors at strides 8, 16 and 32.

A body maps (N, 3, H, W) to a list of three maps, (N, C_l, H / s, W / s) for s = 8, 16, 32, and knows its stages:
the stem (all that comes before stride 4) and the parts of stride 4, 8, 16 and 32.
"""

import difflib
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import timm
import torchvision
from torch import Tensor, nn

logger = logging.getLogger(__name__)

STRIDES = (8, 16, 32)
DOWNLOAD_TIMEOUT = 10.0  # seconds


class _Layout(NamedTuple):
    taps: tuple[str, str, str]  # the children whose outputs are the maps
    stages: tuple[str, str, str, str]  # the first child of stride 4, 8, 16, 32
    channels: tuple[int, int, int]  # of the maps of the published network


_RESNET = _Layout(("layer2", "layer3", "layer4"), ("layer1", "layer2", "layer3", "layer4"), (512, 1024, 2048))
# Tapped before its last 1x1 convolution, as detectors on EfficientNet are (EfficientDet, mmdetection's RetinaNet).
_EFFICIENTNET = _Layout(("3", "5", "7"), ("2", "3", "4", "6"), (40, 112, 320))
TORCHVISION_LAYOUTS = {
    "resnet50": _RESNET,
    "resnet101": _RESNET,
    "resnet152": _RESNET,
    # Tapped at its last 1x1 convolution, which is what makes the paper's student 10.42 M parameters.
    "mobilenet_v2": _Layout(("6", "13", "18"), ("2", "4", "7", "14"), (32, 96, 1280)),
    "efficientnet_b0": _EFFICIENTNET,
    "efficientnet_b1": _EFFICIENTNET,
    # Nothing but the pooling is at stride 4.
    "shufflenet_v2_x1_0": _Layout(
        ("stage2", "stage3", "stage4"), ("maxpool", "stage2", "stage3", "stage4"), (116, 232, 464)
    ),
}


class TorchvisionBody(nn.Module):
    """A torchvision network up to the last tapped child; the children keep torchvision's names.

    Args:
        name: a key of ``TORCHVISION_LAYOUTS``.
        width_mult: channels relative to the published network; mobilenet_v2 only.
        pretrained: load ImageNet weights if they can be reached.

    Attributes:
        channels: of the three maps.

    Raises:
        ValueError: the name is unknown, or the network has no ``width_mult``.
    """

    def __init__(self, *, name: str, width_mult: float = 1.0, pretrained: bool = False):
        super().__init__()
        if name not in TORCHVISION_LAYOUTS:
            raise ValueError(unknown_name("torchvision", name, TORCHVISION_LAYOUTS))
        if name != "mobilenet_v2" and width_mult != 1.0:
            raise ValueError(f"MODEL.BOTTOM_UP.WIDTH_MULT is for mobilenet_v2; set it to 1.0 for {name}.")
        width = {"width_mult": width_mult} if name == "mobilenet_v2" else {}
        model = torchvision.models.get_model(name, weights=None, **width)
        if pretrained:
            _or_random_weights(f"torchvision's {name}", lambda: _load_torchvision(model, name, width_mult))

        self.layout = TORCHVISION_LAYOUTS[name]
        # MobileNet and EfficientNet keep all but the classifier in "features".
        for child, module in getattr(model, "features", model).named_children():
            self.add_module(child, module)
            if child == self.layout.taps[-1]:
                break
        self.channels = list(self.layout.channels)
        if name == "mobilenet_v2":
            self.channels = [self.get_submodule(tap).out_channels for tap in self.layout.taps]

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for name, module in self.named_children():
            x = module(x)
            if name in self.layout.taps:
                features.append(x)
        return features

    def stage_parameters(self, count: int) -> list[nn.Parameter]:
        """Parameters of the first ``count`` stages, 0 to 5."""
        children = dict(self.named_children())
        names = list(children)
        ends = (0, *(names.index(first) for first in self.layout.stages), len(names))
        return [p for name in names[: ends[count]] for p in children[name].parameters()]


class TimmBody(nn.Module):
    """A timm network with ``features_only``; its maps are the last at each of the three strides.

    Args:
        name: a timm model, with or without a tag of its weights.
        pretrained: load ImageNet weights if they can be reached.

    Attributes:
        channels: of the three maps.

    Raises:
        ValueError: the name is unknown, or the network has no feature maps at strides 8, 16 and 32.
    """

    def __init__(self, *, name: str, pretrained: bool = False):
        super().__init__()
        if not timm.is_model(name):
            raise ValueError(unknown_name("timm", name, timm.list_models()))
        try:
            model = timm.create_model(name, features_only=True)
        except (RuntimeError, AssertionError) as error:  # how timm says that there is no features_only variant
            raise ValueError(
                f"MODEL.BOTTOM_UP.NAME: timm's {name} gives no feature maps ({_one_line(error)})."
            ) from error
        # Of all maps that the network has, and not only of timm's default choice.
        indices = list(range(len(model.feature_info.info)))
        last = {stride: i for i, stride in enumerate(model.feature_info.reduction(indices))}
        if not set(STRIDES) <= set(last):
            raise ValueError(
                f"MODEL.BOTTOM_UP.NAME: timm's {name} has feature maps at strides {sorted(last)}; "
                "choose a network that has 8, 16 and 32."
            )
        taps = tuple(last[stride] for stride in STRIDES)
        if tuple(model.feature_info.out_indices) != taps:
            model = timm.create_model(name, features_only=True, out_indices=taps)
        if pretrained:
            model = _or_random_weights(f"timm's {name}", lambda: _load_timm(name, taps)) or model
        self.model = model
        self.channels = list(model.feature_info.channels())
        self.channels_last = str(getattr(model, "output_fmt", "")).endswith("NHWC")

    def forward(self, x: Tensor) -> list[Tensor]:
        features = self.model(x)
        return [f.permute(0, 3, 1, 2).contiguous() for f in features] if self.channels_last else features

    def stage_parameters(self, count: int) -> list[nn.Parameter]:
        """Parameters of the first ``count`` stages, 0 to 5.

        Raises:
            ValueError: timm does not tell the stages of this network.
        """
        if count == 0:
            return []
        # timm registers the parts of a network in the order in which they run and names the part that ends a stride.
        # Where it flattens the network it writes "stages_0" for "stages.0".
        part = {entry["reduction"]: entry["module"] for entry in self.model.feature_info.info}
        end_of_stage = part.get(4 if count == 1 else 2**count, "")
        modules = list(self.model.named_modules())
        inside = [
            i
            for i, (name, _) in enumerate(modules)
            if end_of_stage and f"{name}.".startswith((f"{end_of_stage}.", f"{end_of_stage.replace('.', '_')}."))
        ]
        if not inside:
            raise ValueError(f"MODEL.BACKBONE.FREEZE_AT {count}: timm does not tell the stages of this network; set 0.")
        end = inside[0] if count == 1 else inside[-1] + 1
        return [p for _, module in modules[:end] for p in module.parameters(recurse=False)]


def _load_torchvision(model: nn.Module, name: str, width_mult: float) -> None:
    if width_mult != 1.0:
        raise ValueError(f"there are none for WIDTH_MULT {width_mult}")
    # The first set: it is the one that detectors are usually started from, mmdetection's among them.
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    model.load_state_dict(weights.get_state_dict(progress=False, check_hash=True))


def _load_timm(name: str, taps: tuple[int, ...]) -> nn.Module:
    from huggingface_hub import constants, try_to_load_from_cache

    # The hub's client tries an unreachable host for most of a minute; one short request is enough to know.
    hub_id = timm.get_pretrained_cfg(name).hf_hub_id
    files = ("model.safetensors", "pytorch_model.bin")
    cached = hub_id and any(isinstance(try_to_load_from_cache(hub_id, file), str) for file in files)
    if hub_id and not cached and not constants.HF_HUB_OFFLINE:
        with suppress(HTTPError):  # whatever it answers, it is there
            urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=DOWNLOAD_TIMEOUT).close()
    return timm.create_model(name, features_only=True, out_indices=taps, pretrained=True)


def _or_random_weights(what: str, load: Callable[[], Any]) -> Any:
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT):
            return load()
    # Downloaders and file formats raise types of their own. Weights are a help and not a need, and the cause is told.
    except Exception as error:
        warn_of_random_weights(what, _one_line(error))
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


def _one_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
