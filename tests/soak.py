#!/usr/bin/env python
"""A distillation that is killed again and again and resumed, against the same one left alone; and its memory.

    python tests/soak.py --steps 5000 --kills 100 --output /tmp/soak

The quickstart at 96 x 96 with teachers of two steps. Each kill comes at a random moment after a start, also while it
starts or saves; it is SIGKILL or SIGTERM, to all processes of the run. Exits with 1 if a bit differs, half a file is
left over, a run ends with anything but its own end or the signal's, or comes to it before all kills (then take more
steps). OUTPUT/soak.json has the figures.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import checkpoint_state, differences, same_log, tensors
from tiny_runs import ROOT, tiny_options
from tqdm import tqdm

from meddet_d2.command import INTERRUPTED
from meddet_d2.engine.resume import STOPPED
from meddet_d2.files import write_json

# A killed run's exit status: before the command's own work has begun, SIGTERM ends Python itself.
ENDS = {
    STOPPED: "SIGTERM, with a checkpoint",
    -signal.SIGKILL: "SIGKILL",
    -signal.SIGTERM: "SIGTERM while it started",
    INTERRUPTED: "SIGTERM while it started",
}

# Seconds between two looks at the memory.
LOOK = 1.0


def parse_args(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000, metavar="N", help="of the student (default: 5000)")
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="that hit a running process (default: 100)")
    parser.add_argument("--longest", type=float, default=12.0, metavar="S", help="a start's life before its kill")
    parser.add_argument("--period", type=int, default=10, metavar="N", help="steps between checkpoints")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="of the data loader")
    parser.add_argument("--seed", type=int, default=1848, metavar="N", help="of the kills")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a new folder")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="of the config")
    return parser.parse_args(arguments)


def command(args: argparse.Namespace, folder: Path) -> list[str]:
    options = [
        *tiny_options(args.output, folder),
        *("SOLVER.MAX_ITER", args.steps, "SOLVER.CHECKPOINT_PERIOD", args.period, "SOLVER.CHECKPOINT_KEEP", 3),
        *("DISTILL.TEACHERS.EVALUATE", False, "DATALOADER.NUM_WORKERS", args.workers, "INPUT.INTENSITY_JITTER", 0.3),
        *("SEED", 7, *args.opts),
    ]
    config = ROOT / "configs" / "quickstart.yaml"
    return [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config-file", str(config), "--resume",
            *map(str, options)]  # fmt: skip


class Run:
    """A training in a group of its own, which a signal reaches as a scheduler's does."""

    def __init__(self, arguments: Sequence[str], log: Path, datasets: Path) -> None:
        environment = {**os.environ, "DETECTRON2_DATASETS": str(datasets), "PYTHONPATH": str(ROOT)}
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                arguments, cwd=ROOT, stdout=output, stderr=output, env=environment, start_new_session=True
            )

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill(signal.SIGKILL)
        self.wait()

    def memory(self) -> float | None:
        """MiB that the main process holds; None once it has ended."""
        try:
            text = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return None
        found = [line.split()[1] for line in text.splitlines() if line.startswith("VmRSS:")]
        return int(found[0]) / 1024 if found else None

    def kill(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def lasts(self, seconds: float) -> bool:
        """Wait for its end; whether it outlives that time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def wait(self) -> int:
        return self.process.wait()


def undisturbed(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A run to its end; its seconds and its memory over its steps."""
    begin, looks = time.monotonic(), []
    bar = tqdm(total=args.steps, desc="undisturbed", unit="step", disable=None)
    with Run(command(args, folder), args.output / "undisturbed.log", args.output / "datasets") as run:
        while run.process.poll() is None:
            time.sleep(LOOK)
            step, memory = last_step(folder), run.memory()
            bar.update(step - bar.n)
            if step and memory:
                looks.append((step, memory))
    if run.wait() != 0:
        raise ValueError(f"the undisturbed run ended with {run.wait()}; see {args.output / 'undisturbed.log'}")
    # Its first third makes caches and pools.
    late = np.array([look for look in looks if look[0] > args.steps / 3])
    slope = float(np.polyfit(late[:, 0], late[:, 1], 1)[0]) * 1000 if len(late) > 2 else None
    return {
        "seconds": time.monotonic() - begin,
        "mib_at_a_third": float(late[0, 1]) if len(late) else None,
        "mib_at_the_end": float(late[-1, 1]) if len(late) else None,
        "mib_peak": float(max(memory for _, memory in looks)) if looks else None,
        "mib_per_1000_steps": slope,
    }


def killed(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A run that is killed ``args.kills`` times and then left alone; how its processes ended."""
    draw, log = random.Random(args.seed), args.output / "killed.log"
    ends, steps, kills, begin = Counter(), [], 0, time.monotonic()
    bar = tqdm(total=args.kills, desc="kills", unit="kill", disable=None)
    while True:
        last = kills >= args.kills
        with Run(command(args, folder), log, args.output / "datasets") as run:
            if not last and run.lasts(draw.uniform(0.5, args.longest)):
                number = draw.choice([signal.SIGKILL, signal.SIGTERM])
                run.kill(number)
                # A scheduler waits for a while after SIGTERM and then kills.
                if number == signal.SIGTERM and draw.random() < 0.3 and run.lasts(draw.uniform(0.0, 0.5)):
                    run.kill(signal.SIGKILL)
            code = run.wait()
        if code == 0:
            # Done, or done before all kills were made.
            return {"kills": kills, "ends": dict(ends), "killed_at": steps, "seconds": time.monotonic() - begin}
        if code not in ENDS or last:
            raise ValueError(f"a run ended with {code} after {kills} kills; see the end of {log}")
        kills += 1
        ends[ENDS[code]] += 1
        steps.append(last_step(folder))
        bar.update()


def last_step(folder: Path) -> int:
    """The step of the newest checkpoint; 0 if there is none."""
    return max((int(path.stem[-7:]) + 1 for path in folder.glob("model_0*.pth")), default=0)


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    args = parse_args(arguments)
    args.output = args.output.absolute()
    args.output.mkdir(parents=True)
    whole, parts = args.output / "undisturbed", args.output / "killed"
    alone = undisturbed(args, whole)
    broken = killed(args, parts)
    states = [checkpoint_state(folder) for folder in (whole, parts)]
    names = [sorted(path.name for path in folder.glob("*.pth")) for folder in (whole, parts)]
    # Half-written files, which a resume removes.
    hidden = [path.name for path in parts.iterdir() if path.name.startswith(".")]
    result = {
        "steps": args.steps,
        "seed": args.seed,
        "undisturbed": alone,
        "killed": broken,
        "values_compared": len(dict(tensors(states[0]))),
        "values_unequal": differences(*states),
        "same_log": same_log(whole, parts),
        # A stop's own checkpoint may be among those that are kept.
        "same_checkpoints": len(names[0]) == len(names[1]) and names[0][-2:] == names[1][-2:],
        "left_over": hidden,
    }
    write_json(args.output / "soak.json", result)
    print(json.dumps(result, indent=2))
    good = not result["values_unequal"] and not hidden and result["same_log"] and result["same_checkpoints"]
    return 0 if good and broken["kills"] >= args.kills else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))  # its runs end with it
    sys.exit(main(sys.argv[1:]))
