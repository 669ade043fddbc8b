#!/usr/bin/env python
"""Train, distil or evaluate a detector; start reading the project here.

    python tools/train_net.py --config-file configs/quickstart.yaml
    python tools/train_net.py --config-file configs/meddet.yaml --num-gpus 4
    torchrun --nproc-per-node 4 tools/train_net.py --config-file configs/meddet.yaml
    python tools/train_net.py --config-file configs/meddet.yaml --eval-only MODEL.WEIGHTS output/meddet/model_final.pth

The same as ``meddet train``. The main path goes on in meddet_d2/cli/train_net.py, then
meddet_d2/engine/trainer.py, then meddet_d2/distillation/step.py, then meddet_d2/modeling/gfl/gfl_detector.py.
"""

import sys

from meddet_d2.cli.train_net import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
