# ruff: noqa: F401
from .coco_evaluation import COCOEvaluator
from .evaluator import DatasetEvaluator, inference_on_dataset, print_csv_format, verify_results
