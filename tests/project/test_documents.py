"""What the README and the pages name is there."""

import re

from project_sources import PACKAGE, ROOT


def test_the_readme_installs_trains_and_tests_by_commands_that_exist():
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    install, test = blocks[:2]
    assert "-c constraints.txt" in install and "-c constraints.txt" in test and "pytest" in test
    assert (ROOT / re.search(r"--config-file (\S+)", install).group(1)).is_file()


def test_the_files_that_documents_name_exist():
    missing = []
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "datasets").glob("*.md")]:
        text = document.read_text()
        linked = [document.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text)]
        named = re.findall(r"\b((?:configs|tools|docs|datasets)/[\w./-]+\.(?:py|yaml|md))", text)
        code = re.findall(r"`((?:modeling|distillation|evaluation|engine|data)/[\w/]+\.py)`", text)
        linked += [ROOT / name for name in named]
        missing += [f"{document.name}: {path}" for path in linked if not path.exists()]
        missing += [f"{document.name}: {name}" for name in code if not (PACKAGE / name).exists()]
    assert not missing
