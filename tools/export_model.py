#!/usr/bin/env python
"""Write a trained detector as ONNX, which runs without torch.

    python tools/export_model.py --config-file configs/meddet.yaml --weights model_final.pth --output exported

The same as ``meddet export``; --help lists the options.
"""

import sys

from meddet_d2.cli.export_model import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
