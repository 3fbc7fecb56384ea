"""What decides a merge, and the files it is written in."""

from copamerge.recipe.load import load_recipe, recipe_from
from copamerge.recipe.model import Recipe, Source
from copamerge.recipe.schedule import Filter, Schedule, places

__all__ = ["Filter", "Recipe", "Schedule", "Source", "load_recipe", "places", "recipe_from"]
