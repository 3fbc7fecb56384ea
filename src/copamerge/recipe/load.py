"""Recipes from YAML, with every problem named by its place in the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from copamerge.errors import RecipeError, did_you_mean
from copamerge.recipe.mergekit import from_mergekit, is_mergekit
from copamerge.recipe.model import Recipe, Source


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> tuple[Recipe, list[str]]:
    """A recipe from a YAML file in our dialect or mergekit's, and notes on what was ignored.

    Adapter paths are relative to the file's folder; what does not exist there is taken as given.

    Raises:
        RecipeError: not YAML, unknown keys (with a suggestion), values out of range; all of it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not a text file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or "malformed"
        raise RecipeError(f"{path}{at}: not valid YAML ({what})") from None
    if not isinstance(content, dict):
        raise RecipeError(
            f"{path}: expected `method:` and `adapters:`, got {type(content).__name__}"
        )
    notes: list[str] = []
    if is_mergekit(content):
        content, notes = from_mergekit(content, where=str(path))
    recipe = recipe_from({**content, **(overrides or {})}, where=str(path))
    beside = [
        source.model_copy(update={"adapter": str(path.parent / source.adapter)})
        if (path.parent / source.adapter).exists()
        else source
        for source in recipe.adapters
    ]
    return recipe.model_copy(update={"adapters": tuple(beside)}), notes


def recipe_from(content: Mapping[str, Any], *, where: str = "") -> Recipe:
    """A recipe from plain values.

    Raises:
        RecipeError: every problem, with its place.
    """
    try:
        return Recipe.model_validate(dict(content))
    except ValidationError as error:
        prefix = f"{where}: " if where else ""
        lines = dict.fromkeys(prefix + _sentence(problem) for problem in error.errors())
        raise RecipeError(lines) from None


def _sentence(problem: ErrorDetails) -> str:
    # Names of union members are pydantic's, not the user's; drop them from the place.
    loc = [part for part in problem["loc"] if not (isinstance(part, str) and _internal(part))]
    place = ".".join(map(str, loc)) or "recipe"
    if problem["type"] == "extra_forbidden":
        known = Source if len(loc) > 1 and loc[0] == "adapters" else Recipe
        return f"{place}: unknown key{did_you_mean(str(loc[-1]), known.model_fields)}"
    if problem["type"] == "missing":
        return f"{place}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "literal_error":
        field = _field(Recipe, loc)
        message = f"expected one of {', '.join(get_args(field))}" if field else message
        if isinstance(problem["input"], str) and field:
            close = did_you_mean(problem["input"], get_args(field))
            message += close if close.startswith("; did") else ""
    if place == "method":
        return message if message.startswith("method") else f"method: {message}"
    return f"{place}: {message} (got {problem['input']!r})"


def _internal(part: str) -> bool:
    return "[" in part or part in ("float", "int", "constrained-float", "Filter", "tuple")


def _field(model: type[BaseModel], loc: list[Any]) -> Any:
    return model.model_fields[loc[0]].annotation if loc and loc[0] in model.model_fields else None
