"""Recipes from YAML, with every problem named by its place in the file."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from copamerge.errors import RecipeError, did_you_mean
from copamerge.recipe.mergekit import from_mergekit, is_mergekit
from copamerge.recipe.model import Recipe, Source
from copamerge.yamltext import YamlError, loaded


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> tuple[Recipe, list[str]]:
    """A recipe from a YAML file in our dialect or mergekit's, and notes on what was ignored.

    Adapter paths are relative to the file's folder; what does not exist there is taken as given.

    Raises:
        RecipeError: not YAML, unknown keys (with a suggestion), values out of range; all of it.
    """
    problems: list[str] = []
    recipe, notes = read_recipe(path, overrides or {}, problems)
    if problems or recipe is None:
        raise RecipeError(problems)
    return recipe, notes


def read_recipe(
    path: Path, overrides: Mapping[str, Any], problems: list[str]
) -> tuple[Recipe | None, list[str]]:
    """As `load_recipe`, but collects problems and gives what can be read in spite of them."""
    try:
        content = _content(path)
        notes: list[str] = []
        if is_mergekit(content):
            content, notes = from_mergekit(content, where=str(path))
    except RecipeError as error:
        problems += error.problems
        return None, []
    recipe = read({**content, **overrides}, problems, where=str(path), typed=overrides)
    if recipe is None:
        return None, notes
    beside = [
        source.model_copy(update={"adapter": str(path.parent / source.adapter)})
        if _exists(path.parent / source.adapter)
        else source
        for source in recipe.adapters
    ]
    return recipe.model_copy(update={"adapters": tuple(beside)}), notes


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for a path
        return False


def _content(path: Path) -> dict[str, Any]:
    try:
        content = loaded(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not a text file, so not a recipe") from None
    except YamlError as error:
        raise RecipeError(f"{path}{error.at}: not valid YAML ({error.what})") from None
    if not isinstance(content, dict):
        got = "an empty file" if content is None else f"a {type(content).__name__}"
        raise RecipeError(f"{path}: expected `method:` and `adapters:`, got {got}")
    if isinstance(content.get("recipe"), dict) and "inputs" in content:
        report: dict[str, Any] = content["recipe"]  # a merge.json: its recipe repeats the merge
        return {key: value for key, value in report.items() if value is not None}
    return content


def recipe_from(content: Mapping[str, Any], *, where: str = "") -> Recipe:
    """A recipe from plain values.

    Raises:
        RecipeError: every problem, with its place.
    """
    problems: list[str] = []
    recipe = read(content, problems, where=where)
    if problems or recipe is None:
        raise RecipeError(problems)
    return recipe


def read(
    content: Mapping[str, Any],
    problems: list[str],
    *,
    where: str = "",
    typed: Collection[str] = (),
) -> Recipe | None:
    """As `recipe_from`, but collects problems and gives what can be read in spite of them.

    `typed` are the fields that were given as command-line options: they are called so, and are
    not in the file `where`.
    """
    try:
        return Recipe.model_validate(dict(content))
    except ValidationError as error:
        found = error.errors()
        if any(
            problem["loc"][:1] == ("adapters",) and len(problem["loc"]) > 1 for problem in found
        ):
            # An adapter that is wrong is not one that is missing.
            found = [problem for problem in found if problem["type"] != "too_short"]
    lines = []
    for problem in found:
        if problem["loc"][:1] and problem["loc"][0] in typed:
            lines += [_as_option(line) for line in _sentences(problem, content)]
        else:
            prefix = f"{where}: " if where else ""
            lines += [prefix + line for line in _sentences(problem, content)]
    problems += dict.fromkeys(lines)
    try:
        return Recipe.model_validate(_without(content, [problem["loc"] for problem in found]))
    except ValidationError:
        return None


def _as_option(line: str) -> str:
    field, _, rest = line.partition(":")
    known = field in Recipe.model_fields and field != "method"
    return f"--{field.replace('_', '-')}:{rest}" if known else line


def _without(content: Mapping[str, Any], places: Iterable[tuple[int | str, ...]]) -> dict[str, Any]:
    """A recipe's fields but for those with problems."""
    rest = dict(content)
    sources = rest.get("adapters")
    entries = dict(enumerate(sources)) if isinstance(sources, list | tuple) else {}
    for place in places:
        match place:
            case ("adapters", int(i), str(key), *_) if key != "adapter" and i in entries:
                entries[i] = {k: v for k, v in dict(entries[i]).items() if k != key}
            case ("adapters", int(i), *_):
                entries.pop(i, None)
            case (field, *_):
                rest = {k: v for k, v in rest.items() if str(k) != str(field)}
    return {**rest, "adapters": list(entries.values())}


EXPECTED = {
    "string_": "a text",
    "bool_": "true or false",
    "int_": "a whole number",
    "float_": "a number",
    "finite_number": "a finite number",
    "tuple_type": "a list of adapters",
    "too_short": "at least one adapter",
    "model_": "a name, or `adapter:` and `weight:`",
}
"""What to say for pydantic's kinds of errors, by how their names begin."""
WEIGHT = (
    "a finite number, a gradient such as [0, 1], or a list of filters such as "
    "{filter: mlp, value: 1}"
)


def _sentences(problem: ErrorDetails, content: Mapping[str, Any]) -> list[str]:
    loc = list(problem["loc"])
    if loc[:1] == ["adapters"] and loc[2:3] == ["weight"]:
        # One value, many forms it does not have: said once.
        place, got = ".".join(map(str, loc[:3])), content["adapters"][loc[1]]["weight"]
        return [f"{place}: expected {WEIGHT} (got {got!r})"]
    place = ".".join(map(str, loc)) or "recipe"
    if problem["type"] == "extra_forbidden":
        known = Source if len(loc) > 1 and loc[0] == "adapters" else Recipe
        return [f"{place}: unknown key{did_you_mean(str(loc[-1]), known.model_fields)}"]
    if problem["type"] == "missing":
        what = Recipe if len(loc) == 1 else Source
        about = (what.model_fields[str(loc[-1])].description or "").splitlines()[0]
        return [f"{place}: missing; write {about[0].lower()}{about[1:].rstrip('.')}"]
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, RecipeError):
        return [x if x.startswith("method") else f"{place}: {x}" for x in cause.problems]
    message = problem["msg"].removeprefix("Value error, ")
    for kind, expected in EXPECTED.items():
        if problem["type"].startswith(kind):
            message = f"expected {expected}"
    if problem["type"] == "literal_error" and (field := _field(Recipe, loc)):
        message = f"expected one of {', '.join(get_args(field))}"
        if isinstance(problem["input"], str):
            close = did_you_mean(problem["input"], get_args(field))
            message += close.rstrip("?") if close.startswith("; did") else ""
    return [f"{place}: {message} (got {problem['input']!r})"]


def _field(model: type[BaseModel], loc: list[Any]) -> Any:
    return model.model_fields[loc[0]].annotation if loc and loc[0] in model.model_fields else None
