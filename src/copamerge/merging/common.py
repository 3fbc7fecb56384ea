"""What holds for a merge of some adapters whichever method is taken."""

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
