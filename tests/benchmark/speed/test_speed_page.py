"""The files: one json, one page with the devices apart, and a picture for each."""

import json

from meddet_d2.benchmark.speed import page, write


def cells(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_the_files_hold_ratios_and_quartiles(report, tmp_path):
    group = report.group("nmode2", "cpu")
    report.seconds = {group: {"flow map": [0.001, 0.002, 0.003], "rk4": [0.02, 0.04, 0.06]}}
    report.images = {group: {"rk4": 2}}
    report.ratio(group, "rk4_over_flow_map", "rk4", "flow map")
    text = write(report, tmp_path, size=64, command="python tools/benchmark.py speed")
    content = json.loads((tmp_path / "speed.json").read_text())
    assert content["nmode2"] == {"rk4_over_flow_map": 20.0}
    assert content["milliseconds"]["nmode2"]["rk4"] == {"median": 40.0, "low": 30.0, "high": 50.0}
    assert content["rounds"] == 3 and content["command"] == "python tools/benchmark.py speed"
    saved = (tmp_path / "speed.md").read_text()
    assert saved.startswith("Random weights, images of 64 x 64")
    assert ["nmode2.rk4_over_flow_map", "20.00"] in cells(text)
    assert ["nmode2", "rk4", "40.00", "30.00 to 50.00", "50.0"] in cells(text)
    assert text in saved and "```bash\npython tools/benchmark.py speed\n```" in saved
    assert (tmp_path / "speed.png").stat().st_size > 10_000


def test_devices_are_apart(report, tmp_path):
    for device in ("cpu", "cuda"):
        group = report.group("step", device)
        report.seconds[group] = {"distillation": [0.1, 0.2, 0.3]}
        report.ratio(group, "overhead", "distillation", "distillation")
    report.memory = {"step_cuda": {"prediction, 32 images": 1.5}}
    report.launches = {"step": {"network": {2: {"kernels": 300, "waits": 0}, 16: {"kernels": 301, "waits": 4}}}}
    text = write(report, tmp_path, size=64, command="speed")
    _, cpu, gpu = text.split("\n## ")
    assert cpu.startswith("On the CPU") and gpu.startswith("On a GPU")
    assert ["step.overhead", "1.00"] in cells(cpu) and ["step_cuda.overhead", "1.00"] in cells(gpu)
    assert "step_cuda" not in cpu and ["step", "distillation"] not in [row[:2] for row in cells(gpu)]
    assert ["network", "300", "0", "301", "4"] in cells(cpu) and ["prediction, 32 images", "1.50"] in cells(gpu)
    assert {path.name for path in tmp_path.glob("*.png")} == {"speed.png", "speed_cuda.png"}
    assert set(json.loads((tmp_path / "speed.json").read_text())["launches"]["step"]["network"]) == {"2", "16"}


def test_what_was_not_measured_is_told(report):
    report.group("step", "cpu")
    report.ratios = {"step": {"overhead": None}}
    report.notes.append("step was not measured: no reason.")
    text = page(report)
    assert ["step.overhead", "not measured"] in cells(text)
    assert "\n- step was not measured: no reason." in text
    # A GPU has words, not a table of dashes.
    assert text.split("## On a GPU")[1].split("##")[0].strip() == "No GPU figure is measured yet."
