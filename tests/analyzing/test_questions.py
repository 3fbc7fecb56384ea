"""The five answers: what is said, when, and that it is what docs/choose.md says."""

from dataclasses import replace
from pathlib import Path

import pytest

from copamerge.analyzing.answers import Facts, advice, answers
from copamerge.analyzing.noticed import notices

CHOOSE = (Path(__file__).parents[2] / "docs" / "choose.md").read_text(encoding="utf-8")


def facts(n=3, *, cosine=0.02, start=0.0, norms=None, ranks=None, **more):
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    plain = Facts(
        names=tuple("abcdefgh"[:n]),
        problems=(),
        layers=(24,) * n,
        ranks=tuple(ranks or [(16,)] * n),
        base="org/base",
        norms=tuple(norms or [1.0] * n),
        cosines=dict.fromkeys(pairs, cosine),
        cosines_A=dict.fromkeys(pairs, start),
        shared=dict.fromkeys(pairs, 24),
        energy={8: 0.3, 16: 0.5, 32: 0.9, 64: 0.9995, 128: 1.0},
        rank_99=60,
    )
    return replace(plain, **more)


@pytest.mark.parametrize("n", [2, 3, 4, 8])
@pytest.mark.parametrize("norms", [None, [1.0, 0.1]])
def test_every_command_stands_in_the_guide(n, norms):
    found = advice(facts(n, norms=(norms or [1.0]) + [1.0] * (n - len(norms or [1.0]))))

    assert found
    for one in found:
        assert f"`{one.command}`" in CHOOSE, one.command


def test_few_adapters_are_told_otherwise_than_many():
    assert advice(facts(3))[0].command.startswith("-m knots")
    assert advice(facts(4))[0].command.startswith("-m tsv_m")


def test_there_is_no_advice_where_nothing_can_be_merged():
    assert advice(facts(1)) == ()
    assert advice(facts(3, problems=("no",))) == ()


@pytest.mark.parametrize(
    "cosine, word",
    [
        (0.02, "Unrelated"),
        (0.3, "Related"),
        (0.8, "Alike"),
        (-0.4, "Partly opposed"),
        (-0.9, "Largely opposed"),
    ],
)
def test_how_related_they_are(cosine, word):
    assert answers(facts(cosine=cosine)).related.startswith(word)


def test_starts_are_told_by_group():
    shared = facts(start=0.97)
    assert "They share their first A" in answers(shared).related
    assert "independent" in answers(facts(start=0.01)).related
    some = replace(shared, cosines_A={(0, 1): 0.9, (0, 2): 0.0, (1, 2): 0.0})
    assert "These share their first A: a, b." in answers(some).related
    unlike = replace(shared, cosines_A={(0, 1): None, (0, 2): None, (1, 2): 0.9})
    assert "These share their first A: b, c." in answers(unlike).related
    between = facts(start=0.3)
    assert "not quite independent" in answers(between).related
    assert "independent." in answers(facts(start=0.01)).related
    partly = replace(shared, cosines_A={(0, 1): 0.01, (0, 2): None, (1, 2): None})
    assert "independent, as far as their ranks can be compared." in answers(partly).related
    unknown = facts(start=None)
    assert "first A" not in answers(unknown).related


@pytest.mark.parametrize(
    "norms, said",
    [
        ([1.0, 2.0, 1.0], "Nobody: norms differ by a factor of 2"),
        ([1.0, 3.5, 1.0, 1.5], "b, somewhat: 74%"),
        ([1.0, 1.0, 9999.0], "c, by far: 100% of all energy; its norm 1e+04 is 9,999 x that of a"),
        ([0.0, 0.0, 0.0], "all deltas are zero"),
        ([0.0, 2.0, 0.0], "b alone"),
    ],
)
def test_who_dominates(norms, said):
    assert said in answers(facts(len(norms), norms=norms)).dominates


def test_ten_thousand_times_is_warned_of_with_the_remedy():
    (warned,) = notices(facts(norms=[1.0, 1.0, 10_000.0]))

    assert "10,000 x" in warned.text and "a, b" in warned.text
    assert "norm_match" in warned.do and "try `--set balance=cap`" in warned.do


def test_a_cap_that_would_do_nothing_is_not_advised():
    uneven = facts(2, norms=[1.0, 11.0])  # the larger of two is never above median + 3 deviations

    (warned,) = notices(uneven)
    assert "try `--set balance=equal`" in warned.do
    assert advice(uneven)[-1].command == "--set balance=equal"


def test_what_a_merge_needs_to_be_told_is_said():
    found = answers(facts(needs=("--modules-to-save mean",)))

    assert "add --modules-to-save mean" in found.fit and found.needs


def test_bases_of_unlike_names_are_named():
    found = answers(facts(base="org/a", bases=("org/a", "org/b", "org/a")))

    assert "bases that differ by name (org/a, org/b)" in found.fit


def test_what_is_lost_is_said_around_the_adapters_rank():
    lost = answers(facts()).lost

    assert "8 keeps 30%, 16 keeps 50%, 32 keeps 90%, 64 keeps over 99.9%" in lost
    assert "99 % needs rank 60, all of it rank 128" in lost
    assert "Cannot be told" in answers(facts(energy=None, rank_99=None)).lost


def test_what_does_not_fit_is_said_first():
    found = answers(facts(problems=("one", "two")))

    assert found.fit.startswith("No") and "2 problems" in found.fit and not found.methods


def test_without_a_common_layer_sizes_say_nothing():
    found = facts(cosine=None, norms=[1.0, 100.0, 1.0])

    assert "no layer in common" in answers(found).dominates
    assert not [n for n in notices(found) if "norms" in n.text]
    assert not [x for x in advice(found) if "norms" in x.situation]


def test_a_zero_adapter_and_a_copy_are_named():
    (zero,) = notices(facts(norms=[1.0, 0.0, 1.0]))
    assert zero.text.startswith("b: its delta is zero") and "leave it out" in zero.do
    copies = replace(facts(2), cosines={(0, 1): 1.0})
    assert any("b is a again" in n.text for n in notices(copies))
    opposite = replace(facts(2), cosines={(0, 1): -1.0})
    assert any("opposite sign" in n.text for n in notices(opposite))
    # The same in the one layer of 24 that both have.
    assert not notices(replace(copies, shared={(0, 1): 1}))
    assert not notices(replace(copies, layers=(24, 1), shared={(0, 1): 1}))


def test_an_unnamed_base_and_layers_that_differ_are_said():
    found = facts(base=None, layers=(24, 12, 24))

    assert "the base not named, 12 to 24 layers, rank 16" in answers(found).fit


def test_ctm_is_not_advised_where_it_keeps_nothing():
    assert not [x for x in advice(facts(ranks=[(1,)] * 3)) if "ctm" in x.command]
    assert [x for x in advice(facts(ranks=[(1,), (1, 2), (1,)])) if "ctm" in x.command]


def test_a_ratio_can_be_read():
    (warned,) = notices(facts(norms=[1e-30, 1.0, 1e30]))

    assert "norms differ 1e+60 x:" in warned.text


def test_only_what_is_a_third_of_the_largest_counts_for_little():
    (warned,) = notices(facts(norms=[1.0, 4.0, 6.0]))

    assert "mean a will count for little" in warned.text


def test_a_pair_makes_no_group_alike_and_one_opposed_pair_is_told():
    pairs = [(0, 1), (0, 2), (1, 2)]
    one_near = replace(facts(), cosines=dict(zip(pairs, (0.9, 0.0, 0.0), strict=True)))
    assert answers(one_near).related.startswith("Related")
    opposed = replace(facts(), cosines=dict(zip(pairs, (0.3, -0.2, 0.1), strict=True)))
    assert answers(opposed).related.startswith("Partly opposed")
