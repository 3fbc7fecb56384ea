"""Families: one shared delta, and per member a mask of one bit per entry and one scalar.

EMR-Merging (arXiv:2405.17461) does not end in one model but in one for each task, made of parts
that they share: member n changes the base by `c_n * mask_n * unified`. A family is a folder

    family.json          what it is made of, and what each tensor means (`FamilyRecord`)
    shared.safetensors   the unified delta of each layer, in the space that family.json names
    masks.safetensors    the masks, eight entries to a byte

with these tensors, LAYER being the layer's name:

    LAYER.unified   rows x columns; space delta: d_out x d_in, space core: p x q
    LAYER.U         d_out x p, space core only: the layer's delta is U unified V^T
    LAYER.V         d_in x q, space core only
    LAYER.bias      d_out, where a member has a LoRA bias: unified among the biases
    LAYER.mask      one row of bytes for each of the layer's members, in the record's order;
                    entries row by row, the first one in the highest bit of the first byte
    LAYER.bias_mask the same for the bias

A layer in which all members are zero (p = q = 0) has no tensors. In `core` space the rule runs on
the cores of the adapters (arXiv:2509.17786), which hold them exactly; in `delta` space on the dense
deltas, as the paper does. `take_member` makes a PEFT adapter of any member.
"""

from copamerge.families.make import make_family
from copamerge.families.open import Family, open_family
from copamerge.families.plan import family_plan
from copamerge.families.record import FamilyRecord
from copamerge.families.take import TakeReport, take_member

__all__ = [
    "Family",
    "FamilyRecord",
    "TakeReport",
    "family_plan",
    "make_family",
    "open_family",
    "take_member",
]
