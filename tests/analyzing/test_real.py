"""Adapters that others trained: what is known of them is found."""

from pathlib import Path

import pytest

from copamerge import analyze
from copamerge.analyzing.files import json_text
from copamerge.recipe import recipe_from

REAL = Path(__file__).parents[3] / "shared" / "adapters"
GROUPS = ("dialogpt", "distilbert", "gpt2-classifiers", "gpt2-domains", "roberta")

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/adapters")


@pytest.fixture(scope="module", params=GROUPS)
def found(request):
    paths = sorted(path for path in (REAL / request.param).iterdir() if path.is_dir())
    more = {"modules_to_save": "drop", "bias": "drop"}
    sources = [{"adapter": str(path)} for path in paths]
    return request.param, analyze(recipe_from({"adapters": sources, **more}))


def test_every_group_is_analysed_without_a_nan(found):
    _, record = found

    text = json_text(record)
    assert "NaN" not in text and "Infinity" not in text
    assert all(merge.failed is None for merge in record.merges)
    for one in record.adapters:
        assert one.norm > 0 and 1 <= one.stable_rank <= max(one.ranks)
        # PEFT starts A uniform; training moves B from zero.
        assert (
            one.A.layers.get("uniform", 0)
            + one.A.layers.get("neither", 0)
            + one.A.layers.get("Gaussian", 0)
            == one.layers
        )


def test_what_a_merge_keeps_is_between_all_and_nothing(found):
    _, record = found

    for merge in record.merges:
        assert all(0 <= trace.preserved_energy <= 1 for trace in merge.traces)
        assert all(-1 <= trace.cosine <= 1 for trace in merge.traces)


def test_one_seed_of_two_trainings_is_found(found):
    group, record = found
    names = [Path(one.adapter).name for one in record.adapters]
    starts = {
        (names[p.one], names[p.other]): p.cosine_A
        for p in record.pairs
        if p.cosine_A is not None and p.cosine_A > 0.5
    }

    # legal was trained apart; the Portuguese ones are two stages of one training.
    known = {
        "gpt2-domains": {("medical", "sports")},
        "roberta": {("portuguese-500", "portuguese-8610")},
    }
    assert set(starts) == known.get(group, set())
