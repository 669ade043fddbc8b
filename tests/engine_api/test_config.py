"""What this project relies on in ``detectron2.config``, on either engine."""

import pytest

from detectron2.config import CfgNode, configurable, get_cfg


@pytest.fixture
def write(tmp_path):
    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write_file


def test_defaults_are_upstreams():
    cfg = get_cfg()
    assert cfg.VERSION == 2 and cfg.SEED == -1 and cfg.OUTPUT_DIR == "./output"
    assert cfg.MODEL.PIXEL_MEAN == [103.530, 116.280, 123.675] and cfg.MODEL.FPN.OUT_CHANNELS == 256
    assert cfg.INPUT.MIN_SIZE_TRAIN == (800,) and cfg.INPUT.FORMAT == "BGR" and cfg.INPUT.RANDOM_FLIP == "horizontal"
    assert cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS and cfg.DATALOADER.ASPECT_RATIO_GROUPING
    assert cfg.SOLVER.STEPS == (30000,) and cfg.SOLVER.WARMUP_FACTOR == 1e-3 and cfg.SOLVER.WEIGHT_DECAY_BIAS is None
    assert cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE == "value" and not cfg.SOLVER.AMP.ENABLED
    assert cfg.TEST.DETECTIONS_PER_IMAGE == 100 and cfg.TEST.AUG.MIN_SIZES[-1] == 1200


def test_each_config_is_its_own():
    get_cfg().SOLVER.BASE_LR = 5.0
    assert get_cfg().SOLVER.BASE_LR == 0.001


def test_base_files_are_merged_relative_to_the_file_that_names_them(write):
    write("base/Base.yaml", "SOLVER:\n  BASE_LR: 0.5\n  MAX_ITER: 7\nDATASETS:\n  TRAIN: [a, b]\n")
    path = write("configs/child.yaml", "_BASE_: ../base/Base.yaml\nSOLVER:\n  MAX_ITER: 9\n")
    cfg = get_cfg()
    cfg.merge_from_file(path)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER) == (0.5, 9)
    assert cfg.DATASETS.TRAIN == ("a", "b"), "a list in yaml becomes the tuple that the default is"


def test_unknown_keys_and_wrong_types_are_errors(write):
    with pytest.raises(KeyError, match="BASE_LEARNING_RATE"):
        get_cfg().merge_from_file(write("misspelt.yaml", "SOLVER:\n  BASE_LEARNING_RATE: 0.1\n"))
    with pytest.raises(ValueError, match="BASE_LR"):
        get_cfg().merge_from_file(write("type.yaml", "SOLVER:\n  BASE_LR: fast\n"))
    with pytest.raises((FileNotFoundError, AssertionError), match=r"missing\.yaml"):
        get_cfg().merge_from_file("missing.yaml")


def test_upstreams_retinanet_sections_load(write):
    path = write("retinanet.yaml", "MODEL:\n  RESNETS:\n    DEPTH: 50\n  RETINANET:\n    NUM_CLASSES: 2\nVERSION: 2\n")
    get_cfg().merge_from_file(path)


def test_overrides_from_the_command_line():
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", "4", "DATASETS.TEST", "('x',)", "MODEL.DEVICE", "cpu"])
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.DATASETS.TEST, cfg.MODEL.DEVICE) == (4, ("x",), "cpu")


def test_a_dumped_config_loads_to_the_same(write):
    cfg = get_cfg()
    cfg.SOLVER.STEPS = (1, 2)
    cfg.MODEL.WEIGHTS = "x.pth"
    again = get_cfg()
    again.merge_from_file(write("config.yaml", cfg.dump()))
    for section in ("SOLVER", "INPUT", "DATASETS", "DATALOADER", "TEST"):
        assert again[section] == cfg[section]
    assert again.MODEL.WEIGHTS == "x.pth"


def test_a_frozen_config_cannot_change():
    cfg = get_cfg()
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.SEED = 1
    cfg.defrost()
    cfg.SEED = 1


class Widget:
    @configurable
    def __init__(self, size, *, color="red", shape=None):
        self.values = size, color, shape

    @classmethod
    def from_config(cls, cfg, shape):
        return {"size": cfg.SIZE, "color": cfg.COLOR, "shape": shape}


class WideWidget(Widget):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


def test_configurable_constructor():
    cfg = CfgNode({"SIZE": 3, "COLOR": "blue"})
    assert Widget(1).values == (1, "red", None)
    assert Widget(size=1, shape="o").values == (1, "red", "o")
    assert Widget(cfg, "o").values == (3, "blue", "o")
    assert Widget(cfg, shape="o", color="green").values == (3, "green", "o"), "a keyword overrides from_config"
    assert Widget(cfg=cfg, shape="o").values == (3, "blue", "o")
    assert WideWidget(cfg, "x").values == (3, "blue", "x")


def test_configurable_needs_from_config():
    class Broken:
        @configurable
        def __init__(self, size):
            pass

    with pytest.raises((TypeError, AttributeError), match="from_config"):
        Broken(CfgNode({"SIZE": 3}))
