"""What a figure was made by, and how it is said."""

import torch

from meddet_d2 import env, provenance


def test_a_gpu_is_named_with_its_versions(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '580.65.06\\n580.65.06\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = provenance.hardware(threads=4)
    assert found == {"cpu": env.cpu_name(), "threads": 4, "gpu": "NVIDIA H100", "cuda": "13.0", "driver": "580.65.06"}
    assert provenance.describe_hardware(found).endswith(", 4 thread(s), NVIDIA H100, CUDA 13.0, driver 580.65.06")


def test_without_a_gpu_there_is_only_the_processor(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert env.gpu_driver() is None
    assert provenance.hardware(threads=1) == {"cpu": env.cpu_name(), "threads": 1, "gpu": None}


def test_records_of_earlier_versions_have_the_name_alone():
    record = {"cpu": "AMD EPYC", "threads": 2, "gpu": "NVIDIA A100"}
    assert provenance.describe_hardware(record) == "AMD EPYC, 2 thread(s), NVIDIA A100"
