"""Selection over a model by radix: the values that sorting one vector gives, to the bit."""

import numpy as np
import torch

from copamerge.core.survey import added
from copamerge.methods import _survey
from copamerge.methods._survey import order_statistics_over
from strategies import random_stack


def over(layers):
    """A pass over layers that are lists of numbers, of one adapter."""
    stacks = {str(i): values for i, values in enumerate(layers)}
    stack = random_stack((1,))

    def total(look):
        from dataclasses import replace

        return added(look(replace(stack, layer=name)) for name in stacks)

    def entries(stack):
        yield "a", torch.tensor(stacks[stack.layer], dtype=torch.float32)

    return total, entries


def test_chunks_and_layers_do_not_matter(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(500, generator=rng)
    places = lambda size: [0, size // 3, size - 1]  # noqa: E731
    whole = order_statistics_over(*over([x.tolist()]), places)

    monkeypatch.setattr(_survey, "CHUNK", 7)
    split = order_statistics_over(*over([x[400:].tolist(), x[:400].tolist()]), places)

    assert whole == split


def test_tallies_are_added_by_name_and_left_alone():
    one, other = {"a": np.array([1, 2])}, {"a": np.array([3, 4]), "b": np.array([5])}

    total = added([one, other])

    assert {name: x.tolist() for name, x in total.items()} == {"a": [4, 6], "b": [5]}
    assert one["a"].tolist() == [1, 2]
