"""The project's Python files, and what each imports, read without importing any."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "meddet_d2"
EMBEDDED = PACKAGE / "embedded"


def imported_modules(path: Path) -> set[str]:
    """Every module imported anywhere in a file, by its absolute name; ``from a import b`` gives both a and a.b."""
    package = path.relative_to(EMBEDDED if EMBEDDED in path.parents else ROOT).parent.parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module or "").split("."))).rstrip(".")
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def sources(folder: Path, *, embedded: bool = False) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.py")) if embedded or EMBEDDED not in path.parents]


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())
