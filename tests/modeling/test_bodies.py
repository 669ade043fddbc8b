"""Networks of timm and torchvision: which run at which size, and weights that cannot be had."""

import logging
import re
import socket
from urllib.error import URLError

import pytest
import timm
import torch
from backbone_names import MOBILENET, SHUFFLENET, SMALL
from torch import nn

from meddet_d2.modeling import BottomUp, bodies

# One small network of each family.
ANY_SIZE = (
    *(
        "resnet10t",
        "resnext26ts",
        "regnetx_002",
        "densenet121",
        "hrnet_w18_small",
        "dla34",
        "cs3darknet_s",
        "repvgg_a0",
    ),
    *(
        "efficientnet_lite0",
        "mobilenetv3_small_050",
        "mobilenetv4_conv_small",
        "lcnet_050",
        "ghostnet_050",
        "rexnet_100",
    ),
    *("convnext_atto", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "swin_s3_tiny_224", "pvt_v2_b0"),
    *("efficientvit_b0", "fastvit_t8", "mvitv2_tiny", "edgenext_xx_small", "tiny_vit_5m_224", "nextvit_small"),
    *("mobilevit_xxs", "repvit_m0_9", "starnet_s1", "poolformer_s12"),
)
ONE_SIZE = ("maxvit_nano_rw_256", "coatnet_nano_rw_224", "gcvit_xxtiny", "hiera_tiny_224", "botnet26t_256")


@pytest.mark.parametrize("name", [*ANY_SIZE, *ONE_SIZE])
def test_timms_families_run_at_every_size(name):
    for largest in (512, 160):
        with torch.device("meta"):
            bottom_up = BottomUp(library="timm", name=name, largest_side=largest).eval()
        assert bottom_up.body.side == (largest if name in ONE_SIZE else None)
        for size in ((largest, largest), (96, 160)):
            features = bottom_up(torch.zeros(1, 3, *size, device="meta"))
            shapes = bottom_up.output_shape().items()
            assert {f: tuple(x.shape) for f, x in features.items()} == {
                f: (1, s.channels, size[0] // s.stride, size[1] // s.stride) for f, s in shapes
            }


@pytest.mark.parametrize(
    "name", ["swin_tiny_patch4_window7_224", "mvitv2_tiny", "maxvit_nano_rw_256", "coatnet_nano_rw_224"]
)
def test_transformers_run_on_the_detectors_images_and_learn(name):
    torch.manual_seed(0)
    bottom_up = BottomUp(library="timm", name=name, largest_side=160)
    image = torch.randn(1, 3, 96, 160).contiguous(memory_format=torch.channels_last)
    sum(x.sum() for x in bottom_up(image).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in bottom_up.parameters())
    bottom_up.eval()
    with torch.no_grad():
        found, padded = bottom_up(image), bottom_up(nn.functional.pad(image, (0, 0, 0, 64)))
    assert [x.shape[-2:] for x in found.values()] == [(12, 20), (6, 10), (3, 5)]
    # In the place of the padding there may as well be zeros in the image.
    same = [torch.equal(padded[name][..., : x.shape[2], :], x) for name, x in found.items()]
    assert all(same) == (bottom_up.body.side is not None)


def test_an_image_larger_than_a_network_was_built_for_is_refused():
    with torch.device("meta"):
        bottom_up = BottomUp(library="timm", name="coatnet_nano_rw_224", largest_side=150).eval()
    with pytest.raises(ValueError, match=r"coatnet_nano_rw_224 is .* at most 160 pixels, not 128x192; raise"):
        bottom_up(torch.zeros(1, 3, 128, 192, device="meta"))


@pytest.mark.parametrize("network", [SMALL, MOBILENET])
@pytest.mark.parametrize("error", [URLError("name not known"), TimeoutError(), RuntimeError("hash mismatch\nmore")])
def test_unreachable_weights_warn_in_one_line(network, error, monkeypatch, caplog):
    timeouts = []

    def fail(*args, **kwargs):
        timeouts.append(socket.getdefaulttimeout())
        raise error

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fail)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    monkeypatch.setattr(bodies, "urlopen", fail)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    before = socket.getdefaulttimeout()
    with caplog.at_level(logging.WARNING):
        torch.manual_seed(0)
        bottom_up = BottomUp(**network, pretrained=True)
    (record,) = caplog.records
    assert re.search(rf"No ImageNet weights for .*{network['name']} \(.+\)", record.getMessage())
    assert "\n" not in record.getMessage()
    assert timeouts == [bodies.DOWNLOAD_TIMEOUT] and socket.getdefaulttimeout() == before
    torch.manual_seed(0)
    expected = BottomUp(**network).state_dict()
    assert all(torch.equal(expected[name], value) for name, value in bottom_up.state_dict().items())


def test_reachable_weights_are_loaded(monkeypatch, caplog):
    import torchvision

    torch.manual_seed(1)
    weights = torchvision.models.mobilenet_v2().state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: weights)
    loaded = BottomUp(**MOBILENET, pretrained=True).body.state_dict()
    assert not caplog.records
    assert all(torch.equal(weights[f"features.{name}"], value) for name, value in loaded.items())

    create_model = timm.create_model
    asked = []

    def create_without_download(name, pretrained=False, **kwargs):
        asked.append(pretrained)
        model = create_model(name, **kwargs)
        if pretrained:
            nn.init.ones_(model.conv_stem.weight)
        return model

    monkeypatch.setattr(timm, "create_model", create_without_download)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: "a cached file")
    body = BottomUp(library="timm", name="mobilenetv2_050", pretrained=True).body
    assert asked[-1] and (body.model.conv_stem.weight == 1).all()


def test_our_shufflenet_says_that_it_has_no_weights(caplog):
    with caplog.at_level(logging.WARNING):
        torch.manual_seed(0)
        asked = BottomUp(**SHUFFLENET, pretrained=True).state_dict()
    (record,) = caplog.records
    assert re.search(r"No ImageNet weights for meddet_d2's shufflenet_v1_g3 \(.+\)", record.getMessage())
    torch.manual_seed(0)
    plain = BottomUp(**SHUFFLENET).state_dict()
    assert all(torch.equal(plain[name], value) for name, value in asked.items())


def test_no_mult_has_weights_of_another_width(caplog):
    with caplog.at_level(logging.WARNING):
        BottomUp(**MOBILENET, width_mult=0.5, pretrained=True)
    assert "there are none for WIDTH_MULT 0.5" in caplog.text
