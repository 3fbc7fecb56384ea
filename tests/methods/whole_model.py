"""Models of several layers for tests, and oracles that put every layer into one vector."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from strategies import random_stack

CONVENTIONS = ["kth", "quantile"]


@st.composite
def model_arguments(draw, exact=None, like_ranks=False):
    """Arguments of `random_model`: up to four layers, some adapters lack some of them.

    `exact` numbers tie often; weights are powers of two, so that votes cancel exactly or not at
    all, in float32 as in float64.
    """
    n = draw(st.integers(1, 4))
    layers = []
    for i in range(draw(st.integers(1, 4))):
        present = draw(st.sets(st.integers(0, n - 1), min_size=1)) if i else set(range(n))
        rank = draw(st.integers(1, 3))
        layers.append(
            {
                "present": sorted(present),
                "ranks": tuple(rank if like_ranks else draw(st.integers(1, 3)) for _ in present),
                "d_in": draw(st.integers(1, 6)),
                "d_out": draw(st.integers(1, 6)),
                "bias": draw(st.booleans()),
                "size": draw(st.sampled_from([0.25, 1.0, 4.0])),
                "seed": draw(st.integers(0, 2**31)),
            }
        )
    return {
        "layers": layers,
        "weights": [draw(st.sampled_from([1.0, 2.0, -0.5])) for _ in range(n)],
        "exact": draw(st.booleans()) if exact is None else exact,
    }


def random_model(layers, weights, exact=False):
    """One stack per layer; an adapter has the same key in each."""
    return [_layer(f"layer {i}", weights, exact, **layer) for i, layer in enumerate(layers)]


def _layer(name, weights, exact, *, present, size, **shape):
    stack = random_stack(weights=[weights[i] for i in present], **shape)
    A, B, bias = stack.A, stack.B * size, stack.bias
    if exact:
        A, B = (2 * A).round() / 2, (2 * B).round() / 2
        bias = None if bias is None else (2 * bias).round() / 2
    keys = tuple(f"adapter {i}" for i in present)
    return replace(stack, layer=name, A=A, B=B, bias=bias, keys=keys)


def example(*, exact=False, missing=True, like_ranks=False, size=1.0):
    """Three layers of unlike size: what holds of the model holds of none of its tensors.

    A `size` of 0.2 keeps PCB's tanh away from 1, where scores tie in float32 and not in float64.
    """
    third = [0, 2] if missing else [0, 1, 2]
    ranks = (2, 2, 2) if like_ranks else (3, 1, 2)
    layers = [
        {"present": [0, 1, 2], "ranks": ranks, "d_in": 7, "d_out": 5, "bias": False, "size": 0.25},
        {"present": [0, 1, 2], "ranks": (2, 2, 2), "d_in": 6, "d_out": 8, "bias": True, "size": 1},
        {"present": third, "ranks": (2,) * len(third), "d_in": 5, "d_out": 4, "bias": True},
    ]
    layers = [{"size": 4.0, "seed": i, **layer} for i, layer in enumerate(layers)]
    for layer in layers:
        layer["size"] *= size
    return random_model(layers, [1.0, 2.0, -0.5], exact)


# --- a model as plain arrays --------------------------------------------------------------------


def pieces(model, space="delta"):
    """{(layer, part): {adapter: (tensor, weight)}}, the tensors in float64 from float32."""
    found = {}
    for i, stack in enumerate(model):
        for n, key in enumerate(stack.keys):
            r, w, s = stack.ranks[n], float(stack.weights[n]), stack.scalings[n]
            A, B = stack.A[n, :r], stack.B[n, :, :r]
            root = abs(w * s) ** 0.5
            parts = {"delta": (B @ A, w)}
            if space == "factors":
                parts = {"A": (A, np.sign(w * s) * root), "B": (B / s, root)}
            if stack.bias is not None:
                parts["bias"] = (stack.bias[n], w)
            for part, (x, weight) in parts.items():
                found.setdefault((i, part), {})[key] = (x.double().numpy(), weight)
    return found


def as_vectors(tensors):
    """{adapter: all its entries as one vector}, from {(layer, part): {adapter: tensor}}."""
    keys = sorted({key for each in tensors.values() for key in each})
    return {
        key: np.concatenate([each[key].flatten() for each in tensors.values() if key in each])
        for key in keys
    }


def threshold(vector, density, convention):
    """methods.md 1.2, T-kth (1-based, everything when k is 0) and T-quantile."""
    magnitudes = np.sort(np.abs(vector))
    if convention == "quantile":
        return np.quantile(magnitudes, 1 - density)
    k = len(vector) - int(len(vector) * density)
    return 0.0 if k == 0 else magnitudes[k - 1]


def ties(
    model,
    density,
    convention,
    sign="reference",
    vote="unweighted",
    combine="mean",
    divide="count",
    scale=1.0,
    space="delta",
):
    """The notebook's TIES on the whole model: {(layer, part): merged tensor}."""
    given = pieces(model, space)
    whole = as_vectors({p: {k: x for k, (x, _) in each.items()} for p, each in given.items()})
    least = {key: threshold(vector, density, convention) for key, vector in whole.items()}
    trimmed = {
        place: {key: (np.where(np.abs(x) >= least[key], x, 0), w) for key, (x, w) in each.items()}
        for place, each in given.items()
    }
    elected = {
        place: np.sign(sum(w * x if vote == "weighted" else x for x, w in each.values()))
        for place, each in trimmed.items()
    }
    majority = 1 if sum(signs.sum() for signs in elected.values()) > 0 else -1
    merged = {}
    for place, each in trimmed.items():
        signs = elected[place]
        if sign != "drop":
            signs = np.where(signs == 0, majority if sign == "reference" else 1, signs)
        total, count = np.zeros_like(signs), np.zeros_like(signs)
        largest = np.zeros_like(signs)
        for x, w in each.values():
            agrees = (np.sign(w * x if vote == "weighted" else x) == signs) & (x != 0)
            offer = np.where(agrees, w * x, 0)
            total += offer
            count += agrees * (w if divide == "weights" else 1)
            largest = np.where(np.abs(offer) > np.abs(largest), offer, largest)
        mean = total / np.where(np.abs(count) > 1e-9, count, 1)
        merged[place] = {"mean": mean, "sum": total, "max": largest}[combine]
        if place[1] != "A":
            merged[place] = scale * merged[place]
    return merged


def pcb(model, ratio, clamp=1e-4, scale=1.0, space="delta"):
    """PCB_merge of pcb-merging.py, T as one vector per adapter: {(layer, part): merged tensor}.

    Also the smallest distance of a score from the one at the threshold, relative to the largest:
    where two nearly tie, float32 may order them otherwise.
    """
    given = pieces(model, space)
    whole = as_vectors({p: {k: x for k, (x, _) in each.items()} for p, each in given.items()})
    whole = {key: vector for key, vector in whole.items() if vector.any()}
    n, limits = len(whole), {}
    for key, vector in whole.items():
        sizes, d = np.sort(np.abs(vector)), len(vector)
        limits[key] = sizes[int(d * clamp)], sizes[max(int(d * (1 - clamp) - 1), int(d * clamp))]
    clamped, scores, gap = {}, {}, 1.0
    bounds = {}
    for key, vector in whole.items():
        cut = np.abs(np.sign(vector) * np.clip(np.abs(vector), *limits[key]))
        bounds[key] = cut.min(), cut.max()
    for place, each in given.items():
        total = sum(x for x, _ in each.values())
        clamped[place] = {
            key: np.sign(x) * np.clip(np.abs(x), *limits[key])
            for key, (x, _) in each.items()
            if key in whole
        }
        scores[place] = {}
        for key, cut in clamped[place].items():
            low, high = bounds[key]
            m = (np.abs(cut) - low) / (high - low) if high > low else np.ones_like(cut)
            scores[place][key] = np.exp(n * (m**2 - 1)) * np.tanh(each[key][0] * total)
    cuts = {}
    for key, vector in as_vectors(scores).items():
        ordered = np.sort(vector)
        least = ordered[min(int(len(vector) * (1 - ratio)), len(vector) - 1)]
        cuts[key] = least, ordered[-1]
        others = np.delete(ordered, np.searchsorted(ordered, least))
        size = np.abs(ordered).max()
        if len(others) and size > 0:
            gap = min(gap, np.abs(others - least).min() / size)
    merged = {}
    for place, each in given.items():
        above = sum(np.zeros_like(x) for x, _ in each.values())
        below = above.copy()
        for key, score in scores[place].items():
            low, high = cuts[key]
            share = (score >= low) * 1.0
            if high > low:
                share = np.clip(score - low, 0, None) / (high - low)
            above += each[key][1] * share * clamped[place][key]
            below += share
        merged[place] = above / np.maximum(below, 1e-12) * (1 if place[1] == "A" else scale)
        if ratio == 0:
            merged[place] = np.zeros_like(above)
    return merged, gap
