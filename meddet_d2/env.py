"""Which engine, versions and hardware this project runs on: ``python -m meddet_d2.env``."""

from pathlib import Path

import detectron2
from detectron2.utils.collect_env import collect_env_info


def describe_engine() -> str:
    """One line: the engine's kind and version, and where it lies."""
    folder = Path(detectron2.__file__).parent
    embedded = folder.parent == Path(__file__).parent / "embedded"
    kind = "embedded engine (Detectron2 is not installed)" if embedded else "Detectron2"
    return f"{kind} {detectron2.__version__} from {folder}"


if __name__ == "__main__":
    print(f"meddet_d2 runs on {describe_engine()}")
    print(collect_env_info())
