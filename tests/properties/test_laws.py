"""Every promised law holds, and every law can tell a wrong method from a right one."""

from typing import ClassVar

import pytest
import torch
from hypothesis import given

from copamerge.core.delta import Dense, LowRank
from copamerge.methods import METHODS, Law, MergeMethod, method_from, method_names
from copamerge.testing import check_law, check_method
from strategies import random_stack, stack_arguments

SETTINGS = [
    # Everything by its name first: a new method is among them without a line here.
    *({"name": name} for name in method_names()),
    {"name": "copa", "density": 1, "scale": 1},
    {"name": "copa", "density": 0.5, "normalize": False},
    {"name": "copa", "density": 0.5, "coefficients": "A", "convention": "kth"},
    {"name": "copa", "density": 1, "scale": 1, "coefficients": "B", "convention": "quantile"},
    {"name": "copa", "density": 1, "scale": 1, "coefficients": "AB"},
    {"name": "copa", "density": 0.5, "coefficients": "AB", "normalize": False},
    {"name": "copa", "density": 0.6, "coefficients": "none"},
    {"name": "copa", "density": 0.6, "prune": "random"},
    {"name": "copa", "density": 1, "prune": "random", "scale": 1, "normalize": False},
    {"name": "copa", "prune": "sign", "scale": 1},
    {"name": "copa", "prune": "sign", "scale": 1, "normalize": False, "coefficients": "none"},
    {"name": "copa", "density": 1, "scale": 1, "convention": "argsort"},
    {"name": "robustmerge", "density": 0.5, "clamp": 1, "fuse": 1, "average": 1},
    {"name": "robustmerge", "density": 1, "clamp": 0},
    {"name": "task_arithmetic", "scale": 0.5},
    {"name": "task_arithmetic", "normalize": True},
    {"name": "ties", "density": 1},
    {"name": "ties", "density": 0.5, "sign": "drop", "combine": "sum"},
    {"name": "ties", "density": 1, "sign": "nonnegative", "combine": "max", "convention": "kth"},
    {"name": "ties", "density": 1, "vote": "weighted", "divide": "weights"},
    {"name": "ties", "density": 0.5, "convention": "quantile"},
    {"name": "ties", "density": 1, "space": "factors"},
    {"name": "ties", "density": 0.4, "space": "factors", "sign": "drop", "vote": "weighted"},
    {"name": "ties", "density": 1, "convention": "argsort"},
    {"name": "ties", "density": 0.5, "convention": "kth", "scope": "global"},
    {"name": "ties", "density": 1, "convention": "quantile", "scope": "global", "sign": "drop"},
    {"name": "ties", "density": 0.5, "convention": "kth", "scope": "global", "space": "factors"},
    {"name": "dare", "density": 1},
    {"name": "dare", "density": 0.5, "rescale": "l1", "then": "ties", "sign": "drop"},
    {"name": "dare", "density": 1, "then": "ties", "vote": "weighted", "divide": "weights"},
    {"name": "dare", "density": 0.5, "rescale": "none", "space": "factors"},
    {"name": "dare", "density": 0.5, "then": "ties", "combine": "sum", "space": "factors"},
    {"name": "dare", "density": 1, "then": "ties", "space": "factors"},
    {"name": "della", "density": 1},
    {"name": "della", "density": 1, "then": "sum"},
    {"name": "della", "density": 0.5, "window": 1, "scope": "tensor", "rescale": "l1"},
    {"name": "della", "density": 0.5, "window": 0, "combine": "sum", "space": "factors"},
    {"name": "breadcrumbs", "density": 1, "gamma": 0},
    {"name": "breadcrumbs", "density": 1, "gamma": 0, "then": "ties"},
    {"name": "breadcrumbs", "density": 0.5, "scope": "tensor", "then": "ties", "sign": "drop"},
    {"name": "breadcrumbs", "density": 0.6, "then": "ties", "vote": "weighted"},
    {"name": "breadcrumbs", "density": 0.6, "space": "factors"},
    {"name": "sce", "density": 0.5},
    {"name": "sce", "density": 0.5, "sign": "drop", "scale": 0.7},
    {"name": "sce", "space": "factors", "sign": "reference"},
    {"name": "pcb", "ratio": 1, "clamp": 0.1},
    {"name": "pcb", "ratio": 0.5, "space": "factors"},
    {"name": "pcb", "ratio": 0.5, "scope": "global"},
    {"name": "pcb", "ratio": 0.5, "scope": "global", "space": "factors"},
    {"name": "emr", "scale": 0.5},
    {"name": "emr", "space": "factors"},
    {"name": "tsv_m", "keep": 2, "scale": 0.7},
    {"name": "tsv_m", "flatten": 0.5},
    {"name": "iso_c", "over": "side"},
    {"name": "iso_cts", "common": 0.4, "scale": 0.5},
    {"name": "wudi", "time": 3, "share": 0.3, "start": "mean"},
    {"name": "wudi", "filter": "adaptive", "start": "zero"},
    {"name": "wudi", "filter": "none"},
    {"name": "dc_merge", "smoothing": "linear", "keep": 0.1},
    {"name": "dc_merge", "keep": 0.3, "scale": 0.5},
    {"name": "dc_merge", "smoothing": "linear", "rho": 2, "keep": 1},
    {"name": "svd", "rank": 2},
    {"name": "svd", "clamp": 0.9},
    {"name": "lego", "clusters": 2},
    {"name": "lego", "clusters": 3, "restarts": 2, "align_signs": True},
    {"name": "core", "rule": "dare", "density": 0.5},
    {"name": "core", "rule": "pcb", "ratio": 0.5},
    {"name": "knots", "density": 1, "scale": 1, "weighted": False},
    {"name": "knots", "scope": "global", "convention": "kth"},
    {"name": "knots", "rule": "dare", "density": 0.5, "then": "ties"},
    {"name": "ctm", "density": 1, "scale": 1},
    {"name": "ctm", "rule": "task_arithmetic", "bottleneck": 2, "beta": 1},
    {"rule": "ties", "density": 0.5, "space": "core", "calibrate": "pico", "scale": "norm_match"},
    {"rule": "ties", "density": 1, "space": "core", "gauge": "canonical", "balance": "equal"},
    {"rule": "copa", "gauge": "canonical"},
    {"rule": "copa", "space": "core", "gauge": "canonical", "scale": "norm_match", "times": 2},
    {"rule": "robustmerge", "gauge": "canonical"},
    {"rule": "task_arithmetic", "scale": "mean", "calibrate": "pico_each"},
    {"rule": "task_arithmetic", "scale": "norm_match"},
    {"rule": "task_arithmetic", "scale": "gain_match"},
    {"rule": "ties", "density": 1, "scale": "gain_match"},
    {"rule": "wudi", "directions": 2, "balance": "equal"},
    {"rule": "task_arithmetic", "space": "core"},
    {"rule": "tsv_m", "balance": "equal", "scale": "norm_match", "times": 1.5},
    {"rule": "iso_c", "space": "knots", "balance": "cap"},
    {"rule": "ties", "density": 1, "scale": "norm_match"},
]


def named(setting):
    return "-".join(str(value) for value in setting.values())


SLOW = (
    {"name": "pcb", "ratio": 0.5, "scope": "global"},
    {"name": "knots", "scope": "global", "convention": "kth"},
)
"""Ten seconds and more each; the same rules without `scope: global` are quick."""


@pytest.mark.parametrize(
    "setting",
    [pytest.param(x, marks=pytest.mark.slow if x in SLOW else ()) for x in SETTINGS],
    ids=named,
)
@given(arguments=stack_arguments())
def test_promised_laws_hold(setting, arguments):
    method, stack = method_from(setting), random_stack(**arguments)
    for law in method.promises():
        check_law(method, law, stack)


@pytest.mark.parametrize("setting", SETTINGS, ids=named)
def test_every_method_is_a_good_citizen(setting):
    check_method(method_from(setting))


# --- laws that fail are not promised ------------------------------------------------------------

HOLD_ON_THE_EXAMPLE = {
    # Odd unless votes cancel exactly, which generic numbers do not.
    ("ties", Law.ODDNESS),
    ("della", Law.ODDNESS),
    ("sce", Law.ODDNESS),
    ("emr", Law.ODDNESS),
}
EXAMPLE = random_stack((3, 3, 3), weights=[1.0, 0.5, 0.3], seed=20)
UNPROMISED = [
    pytest.param(method, law, id=f"{method.name}-{law.name.lower()}")
    for method in (cls() for cls in METHODS.values())
    for law in Law
    if law not in method.promises() and (method.name, law) not in HOLD_ON_THE_EXAMPLE
]


@pytest.mark.parametrize("method, law", UNPROMISED)
def test_laws_that_are_not_promised_fail(method, law):
    with pytest.raises(AssertionError, match=law.name):
        check_law(method, law, EXAMPLE)


def test_one_threshold_for_both_factors_depends_on_their_sizes():
    method = method_from(
        {"name": "ties", "space": "factors", "scope": "global", "convention": "kth"}
    )

    for law in (Law.HOMOGENEITY, Law.FACTOR_SCALE):
        assert law not in method.promises()
        with pytest.raises(AssertionError, match=law.name):
            check_law(method, law, EXAMPLE)


@pytest.mark.parametrize("name", ["ties", "dare", "pcb"])
@pytest.mark.parametrize("law", [Law.GAUGE, Law.OWN_RANK_ORDER, Law.SIGN_FLIP, Law.LINEARITY])
def test_a_rule_on_the_factors_depends_on_the_factorisation(name, law):
    method = method_from({"name": name, "space": "factors"})

    assert law not in method.promises()
    with pytest.raises(AssertionError, match=law.name):
        check_law(method, law, EXAMPLE)


# --- every law rejects a wrong method -----------------------------------------------------------


class Mutant(MergeMethod):
    """A known-wrong method: a formula from the table below."""

    name: ClassVar = "mutant"
    source: ClassVar = "none"
    laws: ClassVar = frozenset()

    law: Law

    def merge(self, stack, draws):
        return MUTANTS[self.law](stack)

    def merge_bias(self, stack, draws):
        return stack.weights @ stack.bias

    def result_rank(self, ranks):
        return max(ranks) if self.law is Law.RANK_BOUND else None


def total(stack):
    return torch.einsum("n,nor,nri->oi", stack.weights, stack.B, stack.A)


def factors_apart(stack):
    """Averaging A and B apart adds cross terms B_i A_j."""
    return LowRank(stack.A.mean(0), stack.B.sum(0))


def on_ranks(stack, c):
    return Dense(torch.einsum("n,nor,r,nri->oi", stack.weights, stack.B, c, stack.A))


def side_by_side(stack):
    return LowRank(stack.A.flatten(0, 1), stack.B.movedim(0, 1).flatten(1))


MUTANTS = {
    Law.IDENTITY: lambda stack: Dense(0.99 * total(stack)),
    Law.PERMUTATION: lambda stack: Dense(total(stack) + 0.01 * stack.B[0] @ stack.A[0]),
    Law.GAUGE: factors_apart,
    Law.HOMOGENEITY: lambda stack: Dense(total(stack).tanh()),
    Law.ODDNESS: lambda stack: Dense(total(stack).abs()),
    Law.LINEARITY: lambda stack: Dense(total(stack) / stack.weights.sum()),
    Law.COPIES: lambda stack: Dense(total(stack)),
    Law.ZERO_ADAPTER: lambda stack: Dense(total(stack) / stack.n),
    Law.COORDINATES: lambda stack: Dense(total(stack) * torch.arange(stack.A.shape[2])),
    Law.RANK_ORDER: lambda stack: on_ranks(stack, torch.arange(stack.A.shape[1]) + 1.0),
    Law.OWN_RANK_ORDER: factors_apart,
    Law.SIGN_FLIP: lambda stack: Dense((stack.B.relu() @ stack.A.relu()).sum(0)),
    Law.ROTATION: lambda stack: Dense(total(stack).relu()),
    Law.FACTOR_SCALE: lambda stack: Dense(total(stack) * stack.A.norm()),
    Law.RANK_BOUND: side_by_side,
    Law.DETERMINISM: lambda stack: Dense(total(stack) + 1e-6 * torch.rand(())),
}


def test_every_law_has_a_mutant():
    assert set(MUTANTS) == set(Law)


@pytest.mark.parametrize("law", list(Law), ids=lambda law: law.name.lower())
def test_every_law_rejects_its_mutant(law):
    with pytest.raises(AssertionError, match=law.name):
        check_law(Mutant(law=law), law, EXAMPLE)


@pytest.mark.parametrize(
    "law", [Law.PERMUTATION, Law.HOMOGENEITY, Law.IDENTITY], ids=lambda law: law.name.lower()
)
def test_laws_hold_for_biases_too(law):
    class WrongBias(Mutant):
        def merge(self, stack, draws):
            return Dense(total(stack))

        def merge_bias(self, stack, draws):
            return 0.5 * stack.bias[0].square()

    with pytest.raises(AssertionError, match=law.name):
        check_law(WrongBias(law=law), law, EXAMPLE)


# --- and good manners are checked ---------------------------------------------------------------


def misbehaving(**overrides):
    def merge(self, stack, draws):
        return Dense(total(stack))

    body = {"merge": merge, "law": Law.COPIES, "__annotations__": {"law": Law}, **overrides}
    return type("Bad", (Mutant,), {"__module__": __name__, **body})()


def scales_in_place(self, stack, draws):
    stack.B.mul_(2)
    return Dense(total(stack))


def shrinks_in_place(stack):
    stack.B.mul_(0.5)
    return {}


@pytest.mark.parametrize(
    "overrides, complaint",
    [
        ({"merge": scales_in_place}, "changes its input"),
        ({"merge": lambda self, s, d: Dense(total(s).mT)}, "of shape"),
        ({"merge": lambda self, s, d: Dense(total(s) / 0)}, "NaN or infinity"),
        ({"merge": lambda self, s, d: Dense(total(s).double())}, "float64"),
        ({"merge": lambda self, s, d: side_by_side(s)}, "announces a dense delta"),
        ({"result_rank": lambda self, ranks: 2}, "announces rank 2"),
        ({"merge_bias": lambda self, s, d: s.bias}, "bias of shape"),
        ({"merge": lambda self, s, d: Dense(total(s) + torch.rand(()))}, "global random state"),
        (
            {"merge": lambda self, s, d: Dense(total(s) * torch.rand((), generator=d.stream("x")))},
            "depends on the seed",
        ),
        ({"seeded": lambda self: True}, "is seeded, and is not"),
        ({"passes": lambda self: 1}, "announces 1 passes and makes 0"),
        (
            {"passes": lambda self: 1, "survey": lambda self, t: t(shrinks_in_place) or None},
            "changes its input",
        ),
        ({"refusal": lambda self, ranks: "no"}, "refuses"),
        ({"promises": lambda self: frozenset({Law.COPIES})}, "COPIES does not hold"),
    ],
)
def test_bad_manners_are_told(overrides, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_method(misbehaving(**overrides))


def test_a_plain_sum_is_a_good_citizen():
    check_method(misbehaving())
