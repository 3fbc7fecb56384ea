"""Blocks and modules from layer names as they occur."""

import pytest

from copamerge.core.places import Place, places_of


def test_blocks_come_in_the_order_of_their_numbers():
    names = [f"model.layers.{i}.{m}" for i in (10, 2, 1) for m in ("mlp.up_proj", "attn.q_proj")]

    places = places_of(names)

    assert list(dict.fromkeys(p.block for p in places.values())) == [
        "model.layers.1",
        "model.layers.2",
        "model.layers.10",
    ]
    assert {p.module for p in places.values()} == {"mlp.up_proj", "attn.q_proj"}


def test_a_sequence_of_unlike_layers_is_no_block():
    names = [
        f"down_blocks.{i}.attentions.{j}.transformer_blocks.0.{module}"
        for i in range(3)
        for j in range(2)
        for module in ("attn1.to_q", "attn1.to_out.0", "ff.net.0.proj", "ff.net.2")
    ]

    places = places_of(names)

    assert {p.module for p in places.values()} == {
        "attn1.to_q",
        "attn1.to_out.0",
        "ff.net.0.proj",
        "ff.net.2",
    }
    assert places[names[0]].block == "down_blocks.0.attentions.0.transformer_blocks.0"


@pytest.mark.parametrize(
    "name, place",
    [
        ("lm_head", Place("", "lm_head")),
        ("model.mm_projector.0", Place("", "model.mm_projector.0")),
        ("0.weight", Place("", "0.weight")),
        ("h.0.attn.c_attn", Place("h.0", "attn.c_attn")),
    ],
)
def test_a_layer_outside_of_blocks_is_called_by_its_name(name, place):
    assert places_of([name]) == {name: place}


def test_a_block_that_lacks_a_module_is_still_a_block():
    names = ["h.0.a", "h.0.b", "h.1.a", "h.1.b", "h.2.a"]

    assert places_of(names)["h.2.a"] == Place("h.2", "a")


def test_every_layer_is_named_by_its_place():
    names = ["h.0.a", "h.1.a", "embed", "mm.0", "mm.2", "a.3.b.1.c", "a.3.b.2.c"]

    for name, place in places_of(names).items():
        assert ".".join(filter(None, place)) == name
