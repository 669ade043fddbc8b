"""Kernels and waits by part: as many for sixteen images as for two, and parts that add up."""

from meddet_d2.benchmark.speed.launch_counts import count_launches

PARTS = ("preprocessing", "network", "decoding", "whole prediction", "training step", "teachers", "distillation step")


def test_parts_add_up(report, cpu):
    count_launches(report, cpu)
    counts = report.launches["launches"]
    assert tuple(counts) == PARTS and all(set(found) == {2, 16} for found in counts.values())
    for images in (2, 16):
        kernels, waits = ({name: found[images][key] for name, found in counts.items()} for key in ("kernels", "waits"))
        assert sum(kernels[name] for name in PARTS[:3]) == kernels["whole prediction"]
        assert min(kernels.values()) > 0
        assert waits["preprocessing"] == waits["network"] == waits["teachers"] == 0 < waits["decoding"]
        assert kernels["distillation step"] > kernels["training step"] + kernels["teachers"]
    assert counts["network"][2] == counts["network"][16]
