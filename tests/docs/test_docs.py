"""What the documentation says is there, is there."""

import re

import pytest
import yaml

from copamerge.merging import plan
from copamerge.methods import METHODS
from copamerge.recipe import load_recipe, recipe_from
from makers import make_adapter

PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs"]
COMMANDS = ("merge", "card", "inspect", "analyze", "diff", "methods")


@pytest.fixture(scope="module")
def root(pytestconfig):
    return pytestconfig.rootpath


def pages(root):
    for page in PAGES:
        yield from root.glob(f"{page}/**/*.md") if (root / page).is_dir() else [root / page]


def test_links_between_pages_lead_somewhere(root):
    broken = [
        f"{page.name}: {link}"
        for page in pages(root)
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]

    assert not broken


def test_the_recipe_in_the_readme_is_valid(root):
    blocks = re.findall(r"```yaml\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)

    assert blocks
    for block in blocks:
        recipe_from(yaml.safe_load(block))


def test_every_command_and_method_is_documented(root):
    cli = (root / "docs/cli.md").read_text()
    methods = (root / "docs/methods.md").read_text()

    assert all(f"## copamerge {command}" in cli for command in COMMANDS)
    assert all(f"## `{name}`" in methods for name in METHODS)


def test_every_method_and_option_says_what_it_is():
    for name in METHODS:
        cls = METHODS[name]
        assert cls.__doc__ and cls.source, name
        for option, field in cls.model_fields.items():
            assert field.description, f"{name}.{option}"


def test_the_tree_in_the_readme_names_what_is_there(root):
    text = (root / "README.md").read_text()
    tree = text.split("```\nsrc/copamerge/")[1].split("```")[0]
    names = re.findall(r"^  (\S+?)/?\s{2,}", tree, re.MULTILINE)
    there = {p.name for p in (root / "src/copamerge").iterdir()} - {
        "__init__.py",
        "__main__.py",
        "__pycache__",
        "_version.py",
        "py.typed",
        "recipe.schema.json",
    }

    assert set(names) == there


@pytest.mark.parametrize("name", ["copa", "serve-rank16", "mergekit-ties"])
def test_shipped_recipes_plan_on_small_adapters(root, tmp_path, name):
    for i, task in enumerate(("legal", "medical", "sports")):
        make_adapter(tmp_path / "adapters" / task, seed=i)
    copied = tmp_path / f"{name}.yaml"
    copied.write_text((root / "recipes" / f"{name}.yaml").read_text())

    recipe, _ = load_recipe(copied)

    assert plan(recipe).layers


def test_every_shipped_recipe_is_tested(root):
    shipped = {file.stem for file in (root / "recipes").glob("*.yaml")}

    assert shipped == {"copa", "serve-rank16", "mergekit-ties"}
