"""What PEFT computes from an adapter: the judge of what we write."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import nn
from transformers.pytorch_utils import Conv1D

PREFIX = "base_model.model."


class Shelf(nn.Module):
    """Layers side by side, each with an input of its own: every output is affine in its delta."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(6, 5)
        self.block = nn.ModuleDict({"lin": nn.Linear(4, 7), "out": nn.Linear(5, 3, bias=False)})
        self.gpt = Conv1D(nf=7, nx=5)
        self.conv3x3 = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.conv1x1 = nn.Conv2d(3, 5, 1)
        self.conv1d = nn.Conv1d(3, 4, 5, stride=2, padding=2)
        self.conv3d = nn.Conv3d(2, 3, 2)
        self.emb = nn.Embedding(11, 6)

    def forward(self, **inputs):
        return {name: self.get_submodule(name)(x) for name, x in inputs.items()}


class Net(nn.Module):
    """A small chain with biases, a norm and a head, for adapters that train more than factors."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.second = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.second(torch.relu(self.norm(self.first(x)))))


class Attention(nn.Module):
    """torch's own attention, whose projections PEFT wraps in a way of its own."""

    def __init__(self):
        super().__init__()
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True)
        self.lin = nn.Linear(8, 4)

    def forward(self, x):
        return self.lin(self.mha(x, x, x)[0])


SHAPES = {
    "lin": (2, 6),
    "block.lin": (2, 4),
    "block.out": (2, 5),
    "gpt": (2, 5),
    "conv3x3": (2, 3, 9, 8),
    "conv1x1": (2, 3, 4, 4),
    "conv1d": (2, 3, 12),
    "conv3d": (2, 2, 3, 4, 3),
}


def seeded(cls, seed=0):
    """A module with weights drawn from `seed`, leaving torch's own stream alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return cls()


@cache
@torch.no_grad()
def shelf_before():
    """Inputs for a Shelf, and what it makes of them without an adapter."""
    rng = torch.Generator().manual_seed(5)
    inputs = {
        name: torch.randn(shape, generator=rng, dtype=torch.float64)
        for name, shape in SHAPES.items()
    }
    inputs["emb"] = torch.arange(11)[None]
    return inputs, seeded(Shelf).double()(**inputs)


def make(base, folder, *, seed, dtype=None, safe_serialization=True, **config):
    """An adapter by PEFT: random factors, and every other trained tensor moved at random."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = get_peft_model(base, LoraConfig(init_lora_weights=False, **config))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and ".lora_" not in name:
                parameter.data += 0.3 * torch.randn(parameter.shape)
    if dtype is not None:
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.data = parameter.data.to(dtype)
    model.create_or_update_model_card = lambda folder: None  # takes longer than all the rest
    with lora_bias_is_no_damage():
        model.save_pretrained(folder, safe_serialization=safe_serialization)
    return folder


@contextmanager
def lora_bias_is_no_damage():
    """PEFT 0.21 takes the one axis of a `lora_B.bias` for a sign of a half-saved factor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Adapter .* invalid shape: \S+\.lora_B\.bias:")
        yield


def edit_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def stored(folder):
    """The tensors in an adapter's file."""
    file = folder / "adapter_model.safetensors"
    if file.exists():
        return load_file(file)
    return torch.load(folder / "adapter_model.bin", weights_only=True, map_location="cpu")


def loaded(base, folder):
    """PEFT's model of the adapter in float64, after checking that it holds every stored tensor."""
    model = PeftModel.from_pretrained(base, folder)
    assert_holds(model, folder)
    return model.double().eval()


def assert_holds(model, folder):
    """What the model would save is what the file has: nothing missing, unused or changed."""
    with lora_bias_is_no_damage():
        there = get_peft_model_state_dict(model, save_embedding_layers=False)
    file = stored(folder)
    everything = model.state_dict()
    # Values that PEFT loads into the base itself and does not count as the adapter's.
    there |= {name: everything[name] for name in (file.keys() - there.keys()) & everything.keys()}
    # With bias="all", PEFT would write its wrappers' copies of a saved module's biases as well.
    copies = {n for n in there if ".original_module." in n or ".modules_to_save." in n}
    assert there.keys() - copies == file.keys() - copies
    for name, tensor in file.items():
        assert torch.equal(there[name], tensor.to(there[name].dtype)), name


def lora_layers(model) -> Iterator[tuple[str, LoraLayer]]:
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name.removeprefix(PREFIX), module


@torch.no_grad()
def deltas(model, adapter="default"):
    """Weight change by layer, as PEFT computes it; also the bias change where there is one."""
    found = {}
    for name, layer in lora_layers(model):
        found[name] = layer.get_delta_weight(adapter)
        if layer.lora_bias.get(adapter):
            found[f"{name} (bias)"] = layer.lora_B[adapter].bias * layer.scaling[adapter]
    return found


@torch.no_grad()
def shelf_effect(folder):
    """All that an adapter changes on a Shelf: weights, biases, and the outputs of every layer."""
    inputs, before = shelf_before()
    model = loaded(seeded(Shelf), folder)
    after = model(**inputs)
    return deltas(model) | {f"{name} (output)": after[name] - before[name] for name in inputs}


def assert_weighted_sum(got, parts, weights, rtol):
    """Every value of `got` is the weighted sum of those in `parts`; what a part lacks is zero."""
    assert got.keys() >= {name for part in parts for name in part}
    for name, value in got.items():
        want = torch.zeros_like(value)
        for part, weight in zip(parts, weights, strict=True):
            want += weight * part.get(name, 0.0)
        assert_close(value, want, rtol, name)


def assert_close(got, want, rtol, name=""):
    error, size = float((got - want).norm()), float(want.norm())
    assert error <= rtol * size, f"{name}: {error / size if size else error:.2e}"


@contextmanager
def attached(base, folder):
    """PEFT's model of the adapter on a base that is shared, given back but for biases."""
    model = PeftModel.from_pretrained(base, folder).eval()
    try:
        yield model
    finally:
        model.unload()


class Skeleton(nn.Module):
    """The root of a `skeleton`, as far as PEFT's model for causal language models looks at it."""

    def prepare_inputs_for_generation(self):
        raise NotImplementedError


def skeleton(shapes):
    """A module tree with only these linear layers (d_out, d_in), their weights not even touched."""
    root = Skeleton()
    for name, (d_out, d_in) in shapes.items():
        *path, leaf = name.split(".")
        parent = root
        for step in path:
            if not hasattr(parent, step):
                parent.add_module(step, nn.Module())
            parent = getattr(parent, step)
        layer = nn.Linear(d_in, d_out, bias=False, device="meta")
        parent.add_module(leaf, layer.to_empty(device="cpu"))
    return root
