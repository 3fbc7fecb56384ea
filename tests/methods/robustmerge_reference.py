"""The released RobustMerge steps for one layer, in torch: the judge of `robustmerge`.

Written from a description of `load_and_merge_pretrained_model` in `llava/model/builder.py` of
github.com/AuroraZengfh/RobustMerge (read at HEAD, November 2026), not copied from it. Same
operations in the same order and float32, without guards: it gives NaN or raises where that does.
"""

import torch

MASK_RATIO = 0.2
ATT_RATIO = 0.2
FUSE_WEIGHT = 2.0


def merged_factors(A, B, *, mask_ratio=MASK_RATIO, att_ratio=ATT_RATIO, fuse_weight=FUSE_WEIGHT):
    """(A_m, B_m) from lists of A (r, d_in) and B (d_out, r); the delta is alpha/r B_m A_m."""
    n = len(A)
    fuse = torch.full((n, 1, 1), fuse_weight)
    full_A = torch.stack(A)
    pruned_A = torch.stack([prune(x, mask_ratio) for x in A])
    ratio = full_A.abs().sum(dim=2) / pruned_A.abs().sum(dim=2)
    S = clamp(ratio, att_ratio)
    A_m = (pruned_A * fuse).sum(dim=0)
    pruned_B = torch.stack([prune(x, mask_ratio) for x in B])
    on_ranks = (S / S.sum(dim=0, keepdim=True))[:, None, :]
    B_m = (pruned_B * on_ranks * fuse).sum(dim=0)
    return A_m, B_m


def prune(x, mask_ratio=MASK_RATIO):
    """Keep what reaches the k-th smallest magnitude, k = int(size (1 - mask_ratio))."""
    k = int(x.numel() * (1 - mask_ratio))
    threshold, _ = x.abs().flatten().kthvalue(k)
    return x * (x.abs() >= threshold)


def clamp(S, att_ratio=ATT_RATIO):
    """Each row of S into [the element at 1 - att_ratio of its sorted self, its largest]."""
    ordered, _ = S.sort(dim=1)
    r = S.shape[1]
    low = ordered[:, int(r * (1 - att_ratio))]
    high = ordered[:, r - 1]
    return S.clamp(min=low[:, None], max=high[:, None])
