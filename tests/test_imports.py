"""Who may import whom is a test, not advice (style: contracts in pyproject.toml)."""

import ast
import subprocess
import sys
from pathlib import Path


def test_the_import_contracts_hold(pytestconfig):
    tool = Path(sys.executable).parent / "lint-imports"

    done = subprocess.run(
        [tool, "--no-cache"], cwd=pytestconfig.rootpath, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout


def test_importing_the_package_imports_nothing_heavy():
    code = "import copamerge, sys; assert not {'torch', 'numpy', 'pydantic'} & sys.modules.keys()"

    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there():
    import copamerge

    assert all(getattr(copamerge, name) is not None for name in copamerge.__all__)


def test_merge_methods_do_not_know_each_other(pytestconfig):
    folder = pytestconfig.rootpath / "src/copamerge/methods"
    together = {"__init__", "composed", "named"}
    methods = {file.stem for file in folder.glob("*.py") if file.stem[0] != "_"} - together

    for name in methods:
        tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
        known = {
            node.module.removeprefix("copamerge.methods.")
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("copamerge.methods")
        }
        assert all(module.startswith("_") for module in known), f"{name} imports {known}"
