import json

import jsonschema
import pytest
import yaml

from copamerge.recipe import recipe_from
from copamerge.recipe.schema import FILE, schema

GOOD = [
    {"adapters": ["a"]},
    {"adapters": ["a", {"adapter": "b", "weight": -0.2}], "method": "ties"},
    {"adapters": ["a"], "method": {"name": "ties", "density": 0.3}, "rank": 16},
    {
        "adapters": ["a"],
        "method": {"rule": "ties", "space": "core", "calibrate": "pico", "scale": "norm_match"},
    },
    {"adapters": ["a"], "method": {"name": "ties", "space": "factors", "scale": 0.5}},
    {"adapters": ["a"], "method": {"name": "core", "rule": "dare", "density": 0.5}},
    {"adapters": ["a"], "method": "knots"},
    {"adapters": [{"adapter": "a", "weight": [0, 1]}], "rank": "energy=0.99"},
    {"adapters": [{"adapter": "a", "weight": [{"filter": "mlp", "value": 2}, {"value": 1}]}]},
]
BAD = [
    {},
    {"adapters": []},
    {"adapters": ["a"], "rnak": 1},
    {"adapters": ["a"], "method": "tis"},
    {"adapters": ["a"], "method": {"name": "ties", "dens": 0.3}},
    {"adapters": ["a"], "method": {"name": "ties", "density": 3}},
    {"adapters": ["a"], "method": {"rule": "ties", "space": "kore"}},
    {"adapters": ["a"], "method": {"rule": "ties", "scale": "norm_mach"}},
    {"adapters": ["a"], "method": {"density": 0.3}},
    {"adapters": ["a"], "rank": 0},
    {"adapters": ["a"], "dtype": "int8"},
]


def test_the_shipped_schema_is_the_models():
    assert FILE.read_text(encoding="utf-8") == schema()


@pytest.mark.parametrize("content", GOOD)
def test_schema_and_loader_accept_the_same(content):
    jsonschema.validate(content, json.loads(schema()))
    recipe_from(content)


@pytest.mark.parametrize("content", BAD)
def test_schema_and_loader_refuse_the_same(content):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, json.loads(schema()))
    with pytest.raises(ValueError):
        recipe_from(content)


def test_the_shipped_recipes_are_valid(pytestconfig):
    files = sorted((pytestconfig.rootpath / "recipes").glob("*.yaml"))

    assert files
    for file in files:
        content = yaml.safe_load(file.read_text())
        if "merge_method" not in content:
            jsonschema.validate(content, json.loads(schema()))
