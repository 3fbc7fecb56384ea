"""Merge methods, one file each."""

from collections.abc import Mapping

from pydantic import ValidationError

from copamerge.errors import RecipeError, did_you_mean
from copamerge.methods._base import Law, MergeMethod
from copamerge.methods.copa import Copa
from copamerge.methods.dare import Dare
from copamerge.methods.factor_linear import FactorLinear
from copamerge.methods.iso_c import IsoC
from copamerge.methods.iso_cts import IsoCts
from copamerge.methods.mean import Mean
from copamerge.methods.pcb import Pcb
from copamerge.methods.robustmerge import RobustMerge
from copamerge.methods.task_arithmetic import TaskArithmetic
from copamerge.methods.ties import Ties
from copamerge.methods.tsv_m import TsvM
from copamerge.methods.wudi import Wudi
from copamerge.registry import Registry

__all__ = ["METHODS", "Law", "MergeMethod", "method_from"]

METHODS: Registry[MergeMethod] = Registry(
    "merge method",
    base=MergeMethod,
    group="copamerge.methods",
    # In reading order: the paper, its released code, sums, element-wise rules, spectral ones in
    # core space, PEFT's linear.
    builtin=[
        Copa,
        RobustMerge,
        TaskArithmetic,
        Mean,
        Ties,
        Dare,
        Pcb,
        TsvM,
        IsoC,
        IsoCts,
        Wudi,
        FactorLinear,
    ],
)


def method_from(value: object, place: str = "method") -> MergeMethod:
    """The method that `ties`, `{name: ties, density: 0.3}` or a `MergeMethod` asks for.

    Numbers and booleans may be strings, as they come from a command line.

    Raises:
        RecipeError: no such method, or options it does not have or accept; lists all of them.
    """
    if isinstance(value, MergeMethod):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise RecipeError(
            f"{place}: write a method as `ties` or as `{{name: ties, density: 0.3}}` "
            f"(got {value!r})"
        )
    cls = METHODS[value["name"]]
    options = {key: option for key, option in value.items() if key != "name"}
    try:
        return cls.model_validate(options)
    except ValidationError as error:
        raise RecipeError(_problems(error, cls, place)) from None


def _problems(error: ValidationError, cls: type[MergeMethod], place: str) -> list[str]:
    problems = []
    for problem in error.errors():
        option = ".".join([place, *map(str, problem["loc"][:1])])
        if problem["type"] == "extra_forbidden":
            word = str(problem["loc"][0])
            hint = did_you_mean(word, cls.model_fields) if cls.model_fields else ""
            problems.append(f"{option}: {cls.name} has no option {word!r}{hint}")
        elif problem["type"] == "value_error":
            problems.append(f"{option}: {problem['ctx']['error']}")
        else:
            problems.append(f"{option}: {problem['msg']} (got {problem['input']!r})")
    return list(dict.fromkeys(problems))
