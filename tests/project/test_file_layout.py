"""How long a file may be, what it may be called, and where the tests of a module are."""

from collections import Counter
from statistics import median

from project_sources import PACKAGE, ROOT, lines_of, sources

# Greatest lines of a file, and of a script in tools/ and datasets/; greatest median of the package.
MOST_LINES, MOST_TOOL_LINES, MOST_MEDIAN = 400, 80, 150
TESTS = ROOT / "tests"
# Tests of no single module, or of no module of this package, each with what they are about.
OTHER_TESTS = {
    "project": "the project's own files",
    "engine_api": "Detectron2's API, on the engine that is in use",
    "test_configs": "the files in configs/",
    "test_fuzz": "every reader of files, with damaged ones",
    "test_results": "the figures in docs/results/",
    "test_hostile": "every tool, with names that lead elsewhere",
    "benchmark/test_jobs": "many runs at once, of the runner",
    "benchmark/test_old_results": "results that an earlier version wrote",
    "cli/test_kill": "the training's command, killed",
    "cli/test_own_classes": "five classes through all commands",
    "cli/test_own_everything": "a person's own method, task and data through all commands",
    "cli/test_processes": "the training's command in two processes",
    "cli/test_user_pages": "the commands of docs/how_to/your_*.md",
    "curation/checking/test_codes": "every code of docs/how_to/check_data.md",
    "curation/preparation/test_bad_input": "the preparation's command, with input that is wrong",
    "curation/preparation/test_prepare_images": "the preparation's command",
    "curation/preparation/test_readers": "all labelling tools' readers, on the same study",
    "data/test_cdh1848": "the layout of that data set, through all that read it",
    "distillation/test_docs": "the method that docs/how_to/distil.md writes out",
    "distillation/test_half_precision": "DISTILL.PRECISION in a step of teachers and distiller",
    "distillation/test_inherit": "what a teacher's config takes from its student's",
    "distillation/test_no_waits": "a step of each method on tensors without values",
    "distillation/test_real_gfl": "distillation of real detectors, each method",
    "engine/test_both_engines": "a training on both engines, to the same bits",
    "engine/test_distributed": "a training in one and in two processes",
    "engine/test_old_checkpoint": "a run that an earlier version began",
    "engine/test_one_step": "the files that docs/one_step.md counts",
    "engine/test_safe_loading": "every place that opens a checkpoint",
    "evaluation/test_backbone_sizes": "complexity.py against published figures",
    "formats/test_dicom_samples": "the DICOM files that pydicom brings",
    "formats/test_privacy": "every reader, with a patient's name in the file",
}


def test_no_file_is_too_long():
    files = [path for name in ("meddet_d2", "tools", "datasets", "tests") for path in (ROOT / name).rglob("*.py")]
    doors = [path for path in files if path.parent in (ROOT / "tools", ROOT / "datasets")]
    too_long = [f"{path.relative_to(ROOT)}: {lines_of(path)}" for path in files if lines_of(path) > MOST_LINES]
    too_long += [f"{path.relative_to(ROOT)}: {lines_of(path)}" for path in doors if lines_of(path) > MOST_TOOL_LINES]
    assert not too_long
    assert median(map(lines_of, sources(PACKAGE))) < MOST_MEDIAN


def test_every_file_name_is_there_once():
    names = Counter(path.name for path in sources(PACKAGE) if not path.name.startswith("__"))
    assert not [name for name, count in names.items() if count > 1]


def modules_of(folder: str) -> set[str]:
    """The modules and subfolders of a folder of the package."""
    return {path.stem for path in (PACKAGE / folder).glob("*") if path.suffix == ".py" or path.is_dir()}


def test_the_tests_mirror_the_package():
    """``tests/a/test_b.py`` or ``tests/a/test_b_some_part.py`` tests ``meddet_d2/a/b.py``."""
    nowhere, used = [], set()
    for path in sorted(TESTS.rglob("test_*.py")):
        name = path.relative_to(TESTS).with_suffix("").as_posix()
        listed = {entry for entry in OTHER_TESTS if entry in (name, name.partition("/")[0])}
        used |= listed
        words = path.stem.removeprefix("test_").split("_")
        beginnings = {"_".join(words[:count]) for count in range(1, len(words) + 1)}
        if not listed and not beginnings & modules_of(path.relative_to(TESTS).parent.as_posix()):
            nowhere.append(name)
    assert not nowhere
    assert used == set(OTHER_TESTS), "entries that no file needs"
