"""What the import linter cannot say of training: no import of ours hides in a function, and no verb's help is slow."""

import ast
import subprocess
import sys
from pathlib import Path

import train
from train.__main__ import VERBS

ROOT = Path(str(train.__file__)).parent
OWN = {"driftwheel", "train"}
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "vllm")


def hidden_imports(path: Path) -> list[str]:
    """Return the imports of own modules that stand in a function, or only where types are checked."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import) and node not in tree.body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            place = f"{path.relative_to(ROOT)}:{node.lineno}"
            found += [f"{place} {name}" for name in names if name.partition(".")[0] in OWN]
    return found


def test_imports_of_own_modules_stand_at_the_top() -> None:
    assert [found for path in sorted(ROOT.rglob("*.py")) for found in hidden_imports(path)] == []


def test_help_of_the_stage_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom train.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(verb in done.stdout for verb in VERBS)
