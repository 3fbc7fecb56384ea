"""What holds for a merge of some adapters whichever method is taken."""

from collections.abc import Sequence

from copamerge.errors import RecipeError
from copamerge.merging.plan import Plan, plan
from copamerge.methods import method_from
from copamerge.recipe import Recipe


def plan_common(recipe: Recipe) -> Plan:
    """What holds whichever method is taken: adapters open, layers that fit.

    Raises:
        AdapterError, PlanError: these adapters cannot be merged by any method.
    """
    # A plain sum takes adapters of any ranks, as it is: what it refuses, every method does.
    plain = {"method": method_from("task_arithmetic"), "rank": "full"}
    return plan(recipe.model_copy(update=plain))


def check_methods(names: Sequence[str]) -> None:
    """
    Raises:
        RecipeError: unknown methods, all of them, with suggestions.
    """
    problems = [] if names else ["methods: none is named; name one, or leave it out for all"]
    for name in dict.fromkeys(names):
        try:
            method_from(name)
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(problems)
