"""Merge LoRA adapters of one base model into one, without training and without data."""

from typing import TYPE_CHECKING, Any

from copamerge._version import __version__

if TYPE_CHECKING:
    from copamerge.analyzing import Analysis as Analysis
    from copamerge.analyzing import analyze as analyze
    from copamerge.comparison import compare_methods as compare_methods
    from copamerge.difference import diff_adapters as diff_adapters
    from copamerge.errors import AdapterError as AdapterError
    from copamerge.errors import CopamergeError as CopamergeError
    from copamerge.errors import OutputError as OutputError
    from copamerge.errors import PlanError as PlanError
    from copamerge.errors import RecipeError as RecipeError
    from copamerge.inspection import inspect_adapters as inspect_adapters
    from copamerge.merging import MergedAdapter as MergedAdapter
    from copamerge.merging import MergeReport as MergeReport
    from copamerge.merging import merge as merge
    from copamerge.merging import merge_plan as merge_plan
    from copamerge.merging import merge_to_folder as merge_to_folder
    from copamerge.merging import plan as plan
    from copamerge.methods import METHODS as METHODS
    from copamerge.recipe import Recipe as Recipe
    from copamerge.recipe import load_recipe as load_recipe

# Public names, imported when first used: `import copamerge` must not cost importing torch.
_HOMES = {
    "AdapterError": "errors",
    "CopamergeError": "errors",
    "Analysis": "analyzing",
    "METHODS": "methods",
    "MergeReport": "merging",
    "MergedAdapter": "merging",
    "OutputError": "errors",
    "PlanError": "errors",
    "Recipe": "recipe",
    "RecipeError": "errors",
    "analyze": "analyzing",
    "compare_methods": "comparison",
    "diff_adapters": "difference",
    "inspect_adapters": "inspection",
    "load_recipe": "recipe",
    "merge": "merging",
    "merge_plan": "merging",
    "merge_to_folder": "merging",
    "plan": "merging",
}
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'copamerge' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"copamerge.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
