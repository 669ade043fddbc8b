"""--plugin: a person's own parts are loaded once, everywhere, and a mistake in them is one line."""

import os
import subprocess
import sys

import pytest

import meddet_d2
from meddet_d2 import plugins
from detectron2.modeling import BACKBONE_REGISTRY
from meddet_d2.cli import console

PART = """
from detectron2.modeling import BACKBONE_REGISTRY


@BACKBONE_REGISTRY.register()
def {name}(cfg, input_shape):
    raise ValueError("a part of mine")
"""


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch):
    """What a test loads is gone after it."""
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(plugins.VARIABLE, "")
    before, registered = set(sys.modules), dict(BACKBONE_REGISTRY._obj_map)
    yield
    # The plugins alone: a library such as onnx ends the process when it is imported a second time.
    for name in set(sys.modules) - before:
        if name.startswith("plugin_"):
            del sys.modules[name]
    BACKBONE_REGISTRY._obj_map.clear()
    BACKBONE_REGISTRY._obj_map.update(registered)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(*names) -> str:
    with pytest.raises(ValueError) as caught:
        plugins.load_plugins(names)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_and_a_module_register_their_parts(tmp_path):
    (tmp_path / "installed").mkdir()
    write(tmp_path / "installed" / "plugin_module.py", PART.format(name="of_a_module"))
    sys.path.insert(0, str(tmp_path / "installed"))
    plugins.load_plugins([write(tmp_path / "plugin_file.py", PART.format(name="of_a_file")), "plugin_module"])
    assert "of_a_file" in BACKBONE_REGISTRY and "of_a_module" in BACKBONE_REGISTRY
    assert plugins.loaded_plugins() == ("plugin_file", "plugin_module")
    # Twice is once: a registry would refuse the second.
    plugins.load_plugins([str(tmp_path / "plugin_file.py")])
    assert plugins.loaded_plugins() == ("plugin_file", "plugin_module")


def test_processes_that_are_started_load_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "plugin_child.py", PART.format(name="of_a_child"))
    plugins.load_plugins(["plugin_child.py"])
    code = (
        "import meddet_d2; from detectron2.modeling import BACKBONE_REGISTRY as R\n"
        "cfg = meddet_d2.load_config('configs/quickstart.yaml'); print('of_a_child' in R, cfg.PLUGINS)"
    )
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "elsewhere", capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "True ('plugin_child',)", done.stderr


def test_what_a_file_registers_can_be_unpickled_in_another_process(tmp_path):
    """A data loader's worker that is spawned gets sys.path and looks for the module by its name."""
    write(tmp_path / "plugin_pickled.py", "class Augmentation:\n    pass\n")
    plugins.load_plugins([str(tmp_path / "plugin_pickled.py")])
    module = sys.modules["plugin_pickled"]
    assert module.Augmentation.__module__ == "plugin_pickled" and sys.path[-1] == str(tmp_path)


def test_a_config_names_its_plugins_and_loads_none(tmp_path):
    plugins.load_plugins([write(tmp_path / "plugin_named.py", PART.format(name="of_a_config"))])
    cfg = meddet_d2.load_config("configs/quickstart.yaml")
    assert cfg.PLUGINS == ("plugin_named",)
    saved = tmp_path / "config.yaml"
    saved.write_text(cfg.dump())
    assert meddet_d2.load_config(str(saved)).PLUGINS == ("plugin_named",)
    plugins._loaded.clear()
    os.environ[plugins.VARIABLE] = ""
    with pytest.raises(ValueError, match=r"config\.yaml was used with the plugin plugin_named, .*add --plugin"):
        meddet_d2.load_config(str(saved))


def test_an_unknown_plugin_is_one_line(tmp_path):
    assert "no_such_module: there is no such module and no such file" in refusal("no_such_module")
    assert "no_such_package.part" in refusal("no_such_package.part")
    assert "absent.py: there is no such file" in refusal(str(tmp_path / "absent.py"))
    assert "one dot" in refusal(write(tmp_path / "two.dots.py", ""))
    assert "a Python file" in refusal(write(tmp_path / "plugin.txt", ""))


def test_a_plugin_that_hides_behind_another_module_is_named(tmp_path):
    assert "give the file another name" in refusal(write(tmp_path / "json.py", ""))


def test_a_name_that_is_taken_is_named_with_its_owner(tmp_path):
    message = refusal(write(tmp_path / "plugin_twice.py", PART.format(name="build_gfl_fpn_backbone")))
    assert "registers build_gfl_fpn_backbone in the registry BACKBONE" in message
    assert "meddet_d2.modeling.backbones.build_gfl_fpn_backbone" in message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("x = 1\n1 / 0\n", 2, "ZeroDivisionError: division by zero"),
        ("import json\n\n\njson.loads('{')\n", 4, "JSONDecodeError"),
        ("import absent_library\n", 1, "No module named 'absent_library'"),
        ("def f(:\n", 1, "SyntaxError"),
        ("assert False, 'mine'\n", 1, "AssertionError: mine"),
    ],
)
def test_a_plugin_that_fails_is_told_by_its_file_and_line(tmp_path, text, line, words):
    message = refusal(write(tmp_path / "plugin_failing.py", text))
    assert f"{tmp_path / 'plugin_failing.py'}, line {line} fails: " in message and words in message


@pytest.mark.parametrize(
    "command", [name for name in console.COMMANDS if name not in ("benchmark", "prepare", "train")]
)
def test_every_command_loads_plugins_first(command, tmp_path, capsys, monkeypatch):
    """The plugin is missing, which is told before anything else of the command is looked at."""
    monkeypatch.chdir(tmp_path)
    needed = {
        "evaluate": ["--output", "out"],
        "predict": ["in", "--output", "out", "--onnx", "model.onnx"],
        "export": ["--config-file", "none.yaml", "--output", "out"],
        "web": ["--onnx", "model.onnx"],
        "check-data": ["data"],
        "analyze": ["--config-file", "none.yaml"],
        "convert-weights": ["a.pkl", "b.safetensors"],
        "env": [],
    }[command]
    assert console.main([command, *needed, "--plugin", "no_such_plugin"]) in (1, 2)
    assert capsys.readouterr().err == (
        "error: --plugin no_such_plugin: there is no such module and no such file; give the path of a .py file, or"
        " install it.\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["prepare", "images", "in", "--annotations", "a", "--format", "coco"],
        ["prepare", "spider", "in"],
        ["benchmark", "list"],
        ["benchmark", "report", "--output", "out"],
        ["train", "--config-file", "quickstart.yaml"],
    ],
)
def test_commands_of_commands_load_them_too(arguments, capsys):
    try:
        status = console.main([*arguments, "--plugin", "no_such_plugin"])
    except SystemExit as end:  # of a process of a training
        status = end.code
    assert status == 1 and "no_such_plugin: there is no such module" in capsys.readouterr().err
