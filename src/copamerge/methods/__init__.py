"""Merge methods, one file each, and compositions of them."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from copamerge.errors import RecipeError, did_you_mean
from copamerge.methods._base import Law, MergeMethod
from copamerge.methods._rules import METHODS
from copamerge.methods.composed import SCALES, SPACES, Composed
from copamerge.methods.named import NAMED, Named

__all__ = [
    "METHODS",
    "NAMED",
    "Composed",
    "Law",
    "MergeMethod",
    "Named",
    "method_from",
    "method_names",
]

PARTS = tuple(name for name in Composed.model_fields if name not in ("title", "rule"))
"""Options of every method that make a composition of it."""


def method_names() -> tuple[str, ...]:
    """What a recipe can name: methods in reading order, plugins, then named compositions."""
    return (*METHODS, *(name for name in NAMED if name not in METHODS))


def method_from(value: object, place: str = "method") -> MergeMethod:
    """The method that `ties`, `{name: ties, density: 0.3}` or a `MergeMethod` asks for.

    `{rule: ties, space: core, calibrate: pico, scale: norm_match}` is a composition; `name` and
    `rule` say the same, unless `name` is that of a named composition, in which `rule` replaces the
    method. Numbers and booleans may be strings, as they come from a command line.

    Raises:
        RecipeError: no such method, or options it does not have or accept; lists all of them.
    """
    if isinstance(value, MergeMethod):
        return value
    if isinstance(value, str):
        value = {"name": value}
    said = value if isinstance(value, Mapping) else {}
    name = said.get("name", said.get("rule"))
    if not isinstance(name, str) or not isinstance(said.get("rule", name), str):
        raise RecipeError(
            f"{place}: write a method as `ties` or as `{{name: ties, density: 0.3}}` "
            f"(got {value!r})"
        )
    options = {str(key): option for key, option in said.items() if key != "name"}
    rule = options.pop("rule", None)
    if name in NAMED:
        published = dict(NAMED[name].options)
        usual = published.pop("rule")
        if rule is not None and rule != usual:
            # Another rule has other options; what is around the rule stays.
            published = {key: part for key, part in published.items() if _composes(key, part)}
        options = {**published, **options}
        rule = rule or usual
    elif rule not in (None, name):
        raise RecipeError(f"{place}: name {name!r} and rule {rule!r} are two methods; give one")
    cls = _known(rule or name)
    problems = _neither(options, cls, place)
    parts = {key: options.pop(key) for key in list(options) if _composes(key, options[key], cls)}
    method: MergeMethod | None = None
    if parts.get("scale", "fixed") != "fixed" and "scale" in cls.model_fields:
        options["scale"] = 1.0
    try:
        method = cls.model_validate(options)
    except ValidationError as error:
        problems += _problems(error, cls, place)
    try:
        composed = Composed.model_validate(
            {"title": name, "rule": method or _known("mean")(), **parts}
        )
    except ValidationError as error:
        problems += _problems(error, Composed, place)
    if problems or method is None:
        raise RecipeError(problems)
    idle = composed == Composed(title=name, rule=method)
    return method if idle and name not in NAMED else composed


def _known(name: str) -> type[MergeMethod]:
    if name not in METHODS:
        raise RecipeError(f"unknown merge method {name!r}{did_you_mean(name, method_names())}")
    return METHODS[name]


def _composes(key: str, value: Any, cls: type[MergeMethod] | None = None) -> bool:
    """Whether an option is about the composition; `space` and `scale` are words of both."""
    if key not in PARTS:
        return False
    if cls is None or key not in cls.model_fields:
        return key not in ("space", "scale") or isinstance(value, str)
    return value in (SPACES if key == "space" else SCALES)


def _neither(options: dict[str, Any], cls: type[MergeMethod], place: str) -> list[str]:
    """Takes out a `space` that is neither the rule's nor one around it, and says what there is."""
    own = get_args(cls.model_fields["space"].annotation) if "space" in cls.model_fields else ()
    known = dict.fromkeys([*(own or ("delta",)), *SPACES])
    if options.get("space", "core") in known:
        return []
    found = options.pop("space")
    return [f"{place}.space: expected one of {', '.join(known)} (got {found!r})"]


def _problems(error: ValidationError, cls: type[MergeMethod], place: str) -> list[str]:
    problems = []
    expected = {
        "less_than_equal": "a number up to {le:g}",
        "less_than": "a number below {lt:g}",
        "greater_than_equal": "a number of at least {ge:g}",
        "greater_than": "a number above {gt:g}",
        "finite_number": "a finite number",
        "literal_error": "{expected}",
        "float_": "a number",
        "int_": "a whole number",
        "bool_": "true or false",
    }
    for problem in error.errors():
        option = ".".join([place, *map(str, problem["loc"][:1])])
        if problem["type"] == "extra_forbidden":
            word = str(problem["loc"][0])
            hint = did_you_mean(word, [*cls.model_fields, *PARTS, "rule"])
            problems.append(f"{option}: {cls.name} has no option {word!r}{hint}")
        elif problem["type"] == "value_error":
            problems.append(f"{option}: {problem['ctx']['error']}")
        else:
            kinds = (kind for kind in expected if problem["type"].startswith(kind))
            kind, limits = next(kinds, None), problem.get("ctx", {})
            message = f"expected {expected[kind].format(**limits)}" if kind else problem["msg"]
            problems.append(f"{option}: {message} (got {problem['input']!r})")
    return list(dict.fromkeys(problems))
