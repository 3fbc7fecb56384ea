"""Random streams that depend on what is drawn for, not on when."""

import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Draws:
    """The random streams of one layer of one merge.

    A stream is named by seed, layer, adapter and purpose, all hashed, so the order of the
    adapters, the order of the walk, skipped layers and parallel work change no draw.
    Streams live on the CPU: the same draw on every device.
    """

    seed: int
    layer: str

    def stream(self, adapter: str, purpose: str = "") -> torch.Generator:
        name = "\0".join([str(self.seed), self.layer, adapter, purpose])
        digest = hashlib.blake2b(name.encode(), digest_size=7).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "big"))
