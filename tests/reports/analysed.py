"""Records of small adapters: plain ones, hostile names, and every kind of missing number."""

from pathlib import Path

import torch

from copamerge.analyzing import Analysis, analyze
from copamerge.recipe import recipe_from
from makers import LAYERS, b_of, make_adapter

HOSTILE = "<img src=x onerror=alert(1)>\"'$x_1$\u202egpj"
METHODS = ("task_arithmetic", "copa", "tsv_m")


def record_of(paths: list[Path], methods: tuple[str, ...] = METHODS) -> Analysis:
    adapters = [{"adapter": str(path)} for path in paths]
    return analyze(
        recipe_from({"method": "task_arithmetic", "adapters": adapters}), methods=methods
    )


def plain(root: Path, n: int, methods: tuple[str, ...] = METHODS) -> Analysis:
    """n adapters of random factors."""
    return record_of([make_adapter(root / f"task{i}", seed=i) for i in range(n)], methods)


def hostile(root: Path) -> Analysis:
    """Names that are HTML, mathematics, and turn text around, twice the same."""
    folders = [root / place / HOSTILE for place in ("a", "b")]
    layers = {**dict(list(LAYERS.items())[:1]), f"{HOSTILE}.0.lm_head": (4, 6)}
    return record_of([make_adapter(f, layers, seed=i) for i, f in enumerate(folders)], METHODS)


def missing(root: Path) -> Analysis:
    """A delta of zero, unlike ranks, layers that only some have, a method that refuses."""
    half = dict(list(LAYERS.items())[:2])
    zeros = {b_of(name): torch.zeros(d_out, 2) for name, (d_out, _) in LAYERS.items()}
    paths = [
        make_adapter(root / "whole", seed=1),
        make_adapter(root / "zero", seed=2, extra=zeros),
        make_adapter(root / "rank3", half, r=3, seed=3),
    ]
    return record_of(paths, ("task_arithmetic", "factor_linear"))


def nothing(root: Path) -> Analysis:
    """One adapter, of zero."""
    zeros = {b_of(name): torch.zeros(d_out, 2) for name, (d_out, _) in LAYERS.items()}
    return record_of([make_adapter(root / "zero", extra=zeros)], ("task_arithmetic",))
