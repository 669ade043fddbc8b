#!/usr/bin/env python
"""Find the discs on MR images: pictures, folders, DICOM series, NIfTI volumes.

    python tools/predict.py slices/ --onnx exported/model.onnx --output found

The same as ``meddet predict``; --help lists the options.
"""

import sys

from meddet_d2.cli.predict import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
