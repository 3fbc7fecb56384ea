"""A strict subset of mergekit's YAML, translated without changing what it means.

Formulas are mergekit's, read in its source (commit a6e4028, June 2026): weights multiply deltas
before signs are elected, `normalize` divides by the weights, and its defaults differ by method.
"""

from collections.abc import Mapping
from typing import Any

from copamerge.errors import RecipeError, did_you_mean

METHODS = ("linear", "task_arithmetic", "ties", "dare_linear", "dare_ties")
TOP = {
    "merge_method",
    "base_model",
    "models",
    "adapters",
    "parameters",
    "dtype",
    "out_dtype",
}
ELSEWHERE = {
    "slices": "assembles layers of whole models; copamerge merges adapters",
    "modules": "assembles parts of whole models; copamerge merges adapters",
    "layer_range": "selects layers of whole models; copamerge merges adapters",
    "tokenizer": "adapters carry no tokenizer",
    "tokenizer_source": "adapters carry no tokenizer",
    "chat_template": "adapters carry no chat template",
}
DTYPES = ("float32", "bfloat16", "float16")


def is_mergekit(content: Mapping[str, Any]) -> bool:
    return "merge_method" in content or "models" in content or "slices" in content


def from_mergekit(content: Mapping[str, Any], *, where: str) -> tuple[dict[str, Any], list[str]]:
    """Our recipe's fields from a mergekit config, and notes on what had no effect.

    Raises:
        RecipeError: keys or methods outside the subset, by name, all at once.
    """
    problems: list[str] = []
    notes: list[str] = []
    for key in content:
        if key in ELSEWHERE:
            problems.append(f"{where}: {key}: not supported: {ELSEWHERE[key]}")
        elif key not in TOP:
            problems.append(f"{where}: {key}: unknown key{did_you_mean(str(key), TOP)}")
    method = content.get("merge_method")
    if method is None:
        problems.append(f"{where}: merge_method: missing")
    elif method not in METHODS:
        problems.append(
            f"{where}: merge_method: {method!r} is not one of mergekit's methods that merge "
            f"adapters here ({', '.join(METHODS)}); for copamerge's own, write `method:` and "
            "`adapters:`"
        )
    shared = _mapping(content.get("parameters"), f"{where}: parameters", problems)
    models = content.get("models", content.get("adapters"))
    if not isinstance(models, list) or not models:
        problems.append(f"{where}: models: expected a list of `- model: ...`")
        models = []
    base = content.get("base_model")
    sources, densities = [], []
    for i, entry in enumerate(models):
        place = f"{where}: models.{i}"
        entry = {"model": entry} if isinstance(entry, str) else _mapping(entry, place, problems)
        for key in _beyond(entry, {"model", "parameters"}):
            why = f"not supported: {ELSEWHERE[key]}" if key in ELSEWHERE else "unknown key"
            hint = "" if key in ELSEWHERE else did_you_mean(key, {"model", "parameters"})
            problems.append(f"{place}.{key}: {why}{hint}")
        own = _mapping(entry.get("parameters"), f"{place}.parameters", problems)
        for key in _beyond(own, {"weight", "density"}):
            problems.append(
                f"{place}.parameters.{key}: unknown key{did_you_mean(key, {'weight', 'density'})}"
            )
        model = entry.get("model")
        if not isinstance(model, str):
            problems.append(f"{place}.model: expected a name, got {model!r}")
            continue
        if model == base:
            notes.append(f"models.{i}: {model} is the base itself and adds nothing")
            continue
        head, plus, adapter = model.partition("+")
        if plus and base is not None and head != base:
            problems.append(f"{place}.model: base {head!r} is not base_model {base!r}")
        sources.append(
            {
                "adapter": adapter if plus else model,
                "weight": _schedule(own.get("weight", shared.get("weight", 1.0))),
            }
        )
        densities.append(own.get("density", shared.get("density", 1.0)))
    known = {"weight", "density", "normalize", "lambda", "rescale", "int8_mask"}
    for key in _beyond(shared, known):
        problems.append(f"{where}: parameters.{key}: unknown key{did_you_mean(key, known)}")
    if "int8_mask" in shared:
        notes.append("parameters.int8_mask: no effect here (masks are never stored)")
    for key in ("normalize", "rescale"):
        if not isinstance(shared.get(key, True), bool):
            problems.append(
                f"{where}: parameters.{key}: expected true or false, got {shared[key]!r}"
            )
    density = _one_density(densities, where, problems)
    dtype = content.get("out_dtype") or content.get("dtype")
    if dtype is not None and dtype not in DTYPES:
        problems.append(f"{where}: dtype: {dtype!r}; expected one of {', '.join(DTYPES)}")
    if problems:
        raise RecipeError(problems)
    recipe: dict[str, Any] = {
        "method": _method(str(method), density, shared),
        "adapters": sources,
    }
    if dtype is not None:
        recipe["dtype"] = dtype
    if base is not None:
        recipe["base_model"] = base
    return recipe, notes


def _method(name: str, density: float, shared: Mapping[str, Any]) -> dict[str, Any]:
    scale = shared.get("lambda", 1.0)
    normalize = bool(shared.get("normalize", name in ("linear", "ties")))
    if name in ("linear", "task_arithmetic"):
        return {"name": "task_arithmetic", "scale": scale, "normalize": normalize}
    agreeing = {"combine": "mean", "divide": "weights"} if normalize else {"combine": "sum"}
    consensus = {"sign": "nonnegative", "vote": "weighted", **agreeing}
    if name == "ties":
        return {
            "name": "ties",
            "density": density,
            "convention": "argsort",
            "scale": scale,
            **consensus,
        }
    rescale = "l1" if shared.get("rescale", True) else "none"
    dare = {"name": "dare", "density": density, "scale": scale, "rescale": rescale}
    return {**dare, "then": "ties", **consensus} if name == "dare_ties" else dare


def _mapping(value: Any, place: str, problems: list[str]) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    problems.append(f"{place}: expected `key: value` pairs, got {value!r}")
    return {}


def _beyond(mapping: Mapping[Any, Any], known: set[str]) -> list[str]:
    return [str(key) for key in mapping if key not in known]


def _schedule(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _one_density(densities: list[Any], where: str, problems: list[str]) -> float:
    if any(not isinstance(d, int | float) for d in densities):
        problems.append(
            f"{where}: density: only one number is supported (no gradients or filters); got "
            f"{next(d for d in densities if not isinstance(d, int | float))!r}"
        )
    elif len(set(densities)) > 1:
        problems.append(
            f"{where}: density: differs between models ({', '.join(f'{d:g}' for d in densities)}); "
            "here one density holds for all of them"
        )
    else:
        return float(densities[0]) if densities else 1.0
    return 1.0
