import pytest

from copamerge.errors import RecipeError
from copamerge.recipe import Filter, places, recipe_from
from copamerge.recipe.schedule import weight_at


def test_depth_runs_from_the_first_layer_to_the_last_under_each_prefix():
    got = places(
        ["model.layers.0.q", "model.layers.2.q", "vision.blocks.0.fc", "vision.blocks.10.fc.1"]
    )

    assert got == {
        "model.layers.0.q": 0.0,
        "model.layers.2.q": 1.0,
        "vision.blocks.0.fc": 0.0,
        "vision.blocks.10.fc.1": 1.0,
    }


def test_layers_without_a_number_are_first_or_last():
    got = places(["model.embed_tokens", "lm_head", "layers.0.q"])

    assert got == {"model.embed_tokens": 0.0, "lm_head": 1.0, "layers.0.q": 0.0}


@pytest.mark.parametrize(
    "schedule, place, weight",
    [
        (0.5, 0.3, 0.5),
        ((1.0, 3.0), 0.0, 1.0),
        ((1.0, 3.0), 0.25, 1.5),
        ((1.0, 3.0), 1.0, 3.0),
        ((0.0, 1.0, 0.0), 0.5, 1.0),
        ((0.0, 1.0, 0.0), 0.75, 0.5),
        ((7.0,), 0.9, 7.0),
    ],
)
def test_numbers_and_gradients(schedule, place, weight):
    assert weight_at(schedule, "layer", place) == pytest.approx(weight)


def test_the_first_filter_that_matches_counts():
    schedule = (
        Filter(filter="mlp", value=2.0),
        Filter(filter="layers.1", value=(0.0, 4.0)),
        Filter(value=-1.0),
    )

    assert weight_at(schedule, "layers.1.mlp.up", 1.0) == 2.0
    assert weight_at(schedule, "layers.1.attn.q", 0.5) == 2.0
    assert weight_at(schedule, "layers.0.attn.q", 0.0) == -1.0


def test_no_matching_filter_is_missing_not_zero():
    assert weight_at((Filter(filter="mlp", value=2.0),), "attn", 0.0) is None


def test_all_forms_of_a_weight_are_read_from_plain_values():
    recipe = recipe_from(
        {
            "adapters": [
                "a",
                {"adapter": "b", "weight": -0.5},
                {"adapter": "c", "weight": [0, 1]},
                {"adapter": "d", "weight": [{"filter": "mlp", "value": [1, 2]}, {"value": 3}]},
            ]
        }
    )

    assert [source.weight for source in recipe.adapters] == [
        1.0,
        -0.5,
        (0.0, 1.0),
        (Filter(filter="mlp", value=(1.0, 2.0)), Filter(value=3.0)),
    ]


def test_a_recipe_survives_a_round_trip():
    recipe = recipe_from(
        {
            "method": {"name": "ties", "density": 0.3},
            "adapters": ["a", {"adapter": "b", "weight": [{"filter": "x", "value": 1}]}],
            "rank": "energy=0.9",
            "dtype": "bfloat16",
        }
    )

    assert recipe_from(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize("rank", ["energy=0", "energy=1.5", "energy=x", 0, -1, 1.5, "all", True])
def test_a_rank_that_means_nothing_is_refused_with_what_would(rank):
    with pytest.raises(RecipeError, match=r"rank: .*expected"):
        recipe_from({"adapters": ["a"], "rank": rank})


@pytest.mark.parametrize("weight", ["heavy", float("nan"), float("inf"), [1, "x"], [{"valeu": 1}]])
def test_a_weight_that_is_no_number_is_refused_at_its_place(weight):
    with pytest.raises(RecipeError, match=r"adapters\.0\.weight"):
        recipe_from({"adapters": [{"adapter": "a", "weight": weight}]})
