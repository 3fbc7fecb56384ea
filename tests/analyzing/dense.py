"""Numbers of the record from the matrices themselves, in float64 and as plainly as possible."""

import numpy as np
from safetensors.torch import load_file

from makers import LAYERS, a_of, b_of


def factors_of(path, layer):
    """A, and B with the scaling folded in as float32, as every method sees it."""
    tensors = load_file(path / "adapter_model.safetensors")
    if a_of(layer) not in tensors:
        return None
    A = tensors[a_of(layer)].float()
    B = tensors[b_of(layer)].float() * (4 / len(A))
    return A.double().numpy(), B.double().numpy()


def deltas(path, layers=LAYERS):
    """Layer -> delta; without those that the adapter lacks."""
    found = {name: factors_of(path, name) for name in layers}
    return {name: B @ A for name, (A, B) in ((n, f) for n, f in found.items() if f is not None)}


def svd(T):
    U, S, Vt = np.linalg.svd(T, full_matrices=False)
    k = int((S > 1e-10 * S[0]).sum()) if S[0] > 0 else 0
    return U[:, :k], S[:k], Vt[:k].T


def inner(one, other):
    return float(sum((one[name] * other[name]).sum() for name in one.keys() & other.keys()))


def norm(one, names=None):
    return float(np.sqrt(sum((one[name] ** 2).sum() for name in (names or one))))


def overlap(Q, P):
    return float((np.linalg.svd(Q.T @ P, compute_uv=False) ** 2).mean())


def common(Q, P, degrees=10):
    return int(
        (np.linalg.svd(Q.T @ P, compute_uv=False) >= np.cos(np.radians(degrees)) - 1e-12).sum()
    )


def effective(S):
    p = S / S.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def kept(A, density=0.2):
    """A with all but its int(density n) largest entries zero."""
    flat = np.abs(A).flatten()
    order = np.argsort(-flat, kind="stable")[: int(density * len(flat))]
    mask = np.zeros(len(flat), dtype=bool)
    mask[order] = True
    return A * mask.reshape(A.shape)


def S_of(A):
    """Equation 3 of CoPA; 1 for a row that is pruned away."""
    left = np.abs(kept(A)).sum(1)
    full = np.abs(A).sum(1)
    return np.where(left > 0, full / np.where(left > 0, left, 1), np.where(full > 0, 1.0, 0.0))
