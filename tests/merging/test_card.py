"""The model card: metadata the Hub reads, a recipe that re-runs, strangers' text as text."""

import json
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id
from markdown_it import MarkdownIt

import copamerge
from copamerge.merging.card import model_card
from copamerge.merging.card.escape import as_yaml, code, fenced, shown, text
from copamerge.merging.card.hub import hub_base, hub_id
from copamerge.merging.card.loading import Written, loading_lines
from copamerge.merging.card.mark import is_own
from copamerge.merging.card.metadata import Named, licence, licence_line
from copamerge.merging.card.rewrite import read_report
from copamerge.merging.sources import SourceCard, card_from
from makers import LAYERS, PREFIX, make_adapter

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
REAL = Path(__file__).parents[3] / "shared" / "adapters"
HOSTILE = [
    "a`b``c",
    "``` \n```\n# title",
    "x\n\n```\n<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](https://evil.example)",
    "![p](https://evil.example/p.png)",
    "| a | b |\n|--|--|",
    "---\nlicense: mit\n---",
    "*bold* _it_ ~~gone~~ # head $$x$$ @you",
    "&lt;b&gt; &copy; <!-- -->",
    "abc\u202egpj.exe\u2066\x00\x1b[31m\x07",
    "lone \ud800 surrogate",
    "1. one",
    "12) two",
    "- - - -",
    "=== ",
    "https://evil.example www.evil.example me@evil.example",
    "back\\slash\\`tick\\|bar",
    "javascript:alert(1)",
    "   four\tspaces    ",
]


def card_of(out):
    return (out / "README.md").read_text(encoding="utf-8")


def merged(out, *adapters, method="copa", **more):
    copamerge.merge(adapters, method, **more).save_pretrained(out)
    return out


def body_of(card):
    return re.sub(r"\A---\n.*?\n---\n", "", card, count=1, flags=re.DOTALL)


def tokens_of(card):
    for token in MARKDOWN.parse(body_of(card)):
        yield token
        yield from token.children or ()


def with_card(folder, **meta):
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(meta)}---\n\n# Model\n")
    return folder


@pytest.fixture
def pair(tmp_path):
    return make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b", seed=1)


# --- metadata ------------------------------------------------------------------------------------


def test_the_hub_reads_the_metadata(tmp_path, pair):
    card = ModelCard(card_of(merged(tmp_path / "out", *pair, method="ties")))

    assert card.data.to_dict() == {
        "base_model": "org/tiny-base",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "peft", "merge", "copamerge", "ties", "base_model:adapter:org/tiny-base"],
    }
    assert card.text.lstrip().startswith("# a + b, merged by ties")


@pytest.mark.parametrize(
    "name, found",
    [
        ("org/name", "org/name"),
        ("gpt2", "gpt2"),
        ("xlm-mlm-tlm-xnli15-1024", "xlm-mlm-tlm-xnli15-1024"),
        ("bert-base-cased-finetuned-mrpc", "bert-base-cased-finetuned-mrpc"),
        (f"/root/.cache/huggingface/hub/models--org--name/snapshots/{'a' * 40}", "org/name"),
        ("/home/me/models/llama", None),
        ("./llama", None),
        ("../org/name", None),
        ("~/llama", None),
        ("models/llama", None),
        ("Output/base", None),
        ("my-finetune", None),
        ("C:\\models\\llama", None),
        ("a/b/c", None),
        ("org/name\nlicense: mit", None),
        ("org/na`me", None),
        ("org/name.git", None),
        ("org/..", None),
        ("org/a--b", None),
        ("org/" + "x" * 100, None),
        ("\u043erg/name", None),
        ("", None),
        (None, None),
    ],
)
def test_only_a_hub_id_is_a_base(name, found):
    assert hub_id(name) == found
    if found is not None:
        validate_repo_id(found)


def test_a_folder_that_is_called_as_a_model_is_no_hub_id(tmp_path, monkeypatch, pair):
    (tmp_path / "org" / "tiny-base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    assert hub_base("org/tiny-base") is None
    assert hub_base("org/tiny-base", sure=True) == "org/tiny-base"
    card = ModelCard(card_of(merged(tmp_path / "out", *pair)))
    assert card.data.base_model is None and "no Hub id" in card.text


def test_a_local_base_stays_out_of_the_metadata_and_its_place_out_of_the_card(tmp_path):
    base = "/home/somebody/private/models/tiny"
    a = make_adapter(tmp_path / "a", base_model_name_or_path=base)

    text = card_of(merged(tmp_path / "out", a))

    assert "base_model" not in ModelCard(text).data.to_dict()
    assert "models/tiny" in text and "somebody" not in text


@pytest.mark.parametrize(
    "task_type, pipeline",
    [
        ("CAUSAL_LM", "text-generation"),
        ("SEQ_2_SEQ_LM", None),
        ("FEATURE_EXTRACTION", "feature-extraction"),
        (None, None),
    ],
)
def test_pipelines(tmp_path, task_type, pipeline):
    a = make_adapter(tmp_path / "a", task_type=task_type)

    assert ModelCard(card_of(merged(tmp_path / "out", a))).data.pipeline_tag == pipeline


def test_a_model_of_images_and_text_is_known_by_its_names(tmp_path):
    layers = {f"model.language_model.{name}": size for name, size in LAYERS.items()}
    a = make_adapter(tmp_path / "a", layers)

    card = ModelCard(card_of(merged(tmp_path / "out", a)))

    assert card.data.pipeline_tag == "image-text-to-text"
    assert "AutoModelForImageTextToText" in card.text


def test_languages_and_data_are_the_union_and_one_licence_is_passed_on(tmp_path, pair):
    with_card(pair[0], license="Apache-2.0", language=["en", False], datasets="org/one")
    with_card(pair[1], license=["apache-2.0"], language="en", datasets=["org/two", "org/one"])

    card = ModelCard(card_of(merged(tmp_path / "out", *pair)))

    assert card.data.license == "apache-2.0"
    assert card.data.language == ["en", "no"]
    assert card.data.datasets == ["org/one", "org/two"]
    assert "All sources are under `apache-2.0`" in card.text


def test_licences_that_differ_are_named_in_the_text_only(tmp_path, pair):
    with_card(pair[0], license="mit")

    card = ModelCard(card_of(merged(tmp_path / "out", *pair)))

    assert card.data.license is None
    assert "do not all name the same licence" in card.text
    assert re.search(r"`[^`]*a`: mit; `[^`]*b`: none named", card.text)


OTHER = SourceCard(license="other", license_name="x-1", license_link="https://x.org/1")


@pytest.mark.parametrize(
    "cards, found",
    [
        ([OTHER, OTHER], {"license": "other", "license_name": "x-1"}),
        ([OTHER, OTHER.model_copy(update={"license_name": "x-2"})], {}),
        ([SourceCard(license="other")], {"license": "other"}),
        ([SourceCard(license="other")] * 2, {}),
        ([SourceCard()], {}),
        ([SourceCard(license="mit"), None], {}),
        ([None], {}),
        # The same licence, read in two places: no place is given.
        (
            [OTHER, OTHER.model_copy(update={"license_link": None})],
            {"license": "other", "license_name": "x-1"},
        ),
    ],
)
def test_what_is_one_licence(cards, found):
    sources = [Named(str(i), card) for i, card in enumerate(cards)]

    got = licence(sources)

    assert {k: v for k, v in got.items() if k != "license_link"} == found
    assert ("license_link" in got) == (cards == [OTHER, OTHER])
    assert ("none" in licence_line(sources)) == (not found)


@pytest.mark.parametrize(
    "meta",
    [
        {"license": "MIT\n# x", "language": "<b>", "datasets": ["../../etc", "a b", "/home/x/y"]},
        {"license": {"a": 1}, "language": 3, "datasets": {"a": 1}},
        {"license": ["mit", "gpl"], "language": [["en"]], "datasets": [None, 1.5, True]},
        {"license": "unknown", "license_name": "x"},
    ],
)
def test_what_is_not_well_formed_is_not_taken(meta):
    assert card_from(meta) == SourceCard()


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"---\n- a list\n---\n",
        b"---\n: : :\n---\n",
        b"---\na: &a [*a]\n---\n",
        b"---\nlicense: mit",
        b"---\n" + b"[" * 5000 + b"\n---\n",
        b"",
    ],
)
def test_a_source_card_that_cannot_be_read_is_none(tmp_path, pair, content):
    (pair[0] / "README.md").write_bytes(content)

    assert copamerge.merge(pair[:1]).report.inputs[0].card == SourceCard()


def test_a_source_card_of_another_system_is_read(pair):
    (pair[0] / "README.md").write_bytes(b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\nText\r\n")

    assert copamerge.merge(pair[:1]).report.inputs[0].card == SourceCard(license="mit")


# --- what is in the text -------------------------------------------------------------------------


def test_every_file_of_every_source_has_its_hash(tmp_path, pair):
    out = merged(tmp_path / "out", *pair, weights=[1.0, -0.25])
    text = card_of(out)

    for part in json.loads((out / "merge.json").read_text())["inputs"]:
        for name, digest in part["sha256"].items():
            assert re.search(rf"^{digest}  .*: {re.escape(name)}$", text, re.MULTILINE)
    assert "| -0.25 |" in text


def test_the_recipe_in_the_card_makes_the_same_bytes(tmp_path, pair, copamerge_cli):
    weights = [1.0, [{"filter": "q_proj", "value": [0.5, 1]}, {"value": -0.5}]]
    out = merged(tmp_path / "out", *pair, method="dare", weights=weights, seed=7, rank=2)

    (recipe,) = [x for x in tokens_of(card_of(out)) if x.type == "fence" and x.info == "yaml"]
    (tmp_path / "recipe.yaml").write_text(recipe.content)
    ran = copamerge_cli("merge", "-c", tmp_path / "recipe.yaml", "-o", tmp_path / "again")

    assert ran.code == 0, ran.err
    for name in ("adapter_model.safetensors", "adapter_config.json", "README.md"):
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


@pytest.mark.parametrize("name", ["a ``` b", "x\n```\n# y", "\u202ereversed", "it's: {odd}, #1"])
def test_a_recipe_of_a_hostile_path_makes_the_same_bytes(tmp_path, name, copamerge_cli):
    adapter = make_adapter(tmp_path / name)
    out = merged(tmp_path / "out", adapter)
    card = card_of(out)

    (recipe,) = [x for x in tokens_of(card) if x.type == "fence" and x.info == "yaml"]
    (tmp_path / "recipe.yaml").write_text(recipe.content)
    ran = copamerge_cli("merge", "-c", tmp_path / "recipe.yaml", "-o", tmp_path / "again")

    assert ran.code == 0, ran.err
    assert "\u202e" not in card
    weights = [(at / "adapter_model.safetensors").read_bytes() for at in (out, tmp_path / "again")]
    assert weights[0] == weights[1]


def test_energy_and_its_worst_layer_by_module(tmp_path, pair):
    out = merged(tmp_path / "out", *pair, method="task_arithmetic", rank=1)
    report, text = read_report(out), card_of(out)

    assert 0 < report.energy_kept < 1
    assert f"{report.energy_kept:.2%} in all, {report.energy_kept_worst:.2%} in the worst" in text
    kept = [x for x in report.layers if x.layer.endswith("q_proj")]
    share = sum(x.norm**2 for x in kept) / sum(x.norm**2 / x.energy_kept for x in kept)
    worst = min(x.energy_kept for x in kept)
    assert f"| `self_attn.q_proj` | 2 | {share:.2%} | {worst:.2%} |" in text


def test_full_tensors_and_their_policy(tmp_path):
    import torch

    folders = [
        make_adapter(
            tmp_path / name,
            seed=i,
            extra={f"{PREFIX}score.weight": torch.full((3, 4), float(i + 1))},
            modules_to_save=["score"],
            task_type="SEQ_CLS",
        )
        for i, name in enumerate("ab")
    ]

    text = card_of(merged(tmp_path / "out", *folders, modules_to_save="mean"))

    assert re.search(
        r"1 full tensor beside the factors \(mean of .*33\.33% of.*`score.weight`", text
    )
    assert "vLLM does not load adapters with full modules" in text
    assert "num_labels" in text and "text-classification" in text


@pytest.mark.parametrize(
    "rank, said",
    [
        (16, "vllm serve org/x --enable-lora --lora-modules"),
        (17, "--max-lora-rank 32"),
        (512, "--max-lora-rank 512"),
        (513, "`--rank 512` or less"),
    ],
)
def test_the_rank_that_a_server_has_to_allow(rank, said):
    assert said in "\n".join(loading_lines(Written(rank, "org/x", "CAUSAL_LM", False)))


def test_what_vllm_does_not_load_is_said():
    embedding = Written(4, "org/x", "CAUSAL_LM", False, linear=False)

    for other in (embedding, embedding._replace(linear=True, task_type="SEQ_CLS")):
        assert "vllm serve" not in "\n".join(loading_lines(other))


def test_hub_sources_are_linked_and_pinned_at_their_commit(pair):
    commit = "c" * 40
    report = copamerge.merge(pair).report
    part = report.inputs[0].model_copy(update={"adapter": "me/one@v1:sub/deep", "revision": commit})
    report = report.model_copy(update={"inputs": (part, report.inputs[1])})

    card = ModelCard(model_card(report))

    assert f"https://huggingface.co/me/one/tree/{commit}" in card.text
    assert f"adapter: me/one@{commit}:sub/deep" in card.text
    assert card.data.to_dict()["source_adapters"] == ["me/one"]
    assert card.data.base_model == "org/tiny-base"


# --- strangers' text -----------------------------------------------------------------------------


@pytest.mark.parametrize("foreign", HOSTILE)
def test_foreign_text_shows_as_it_is(foreign):
    for line in (f"before {text(foreign)} after", text(foreign), code(foreign)):
        tokens = [t for token in MARKDOWN.parse(line) for t in (token, *(token.children or ()))]
        assert {t.type for t in tokens} <= {
            "paragraph_open", "paragraph_close", "inline", "text", "text_special", "code_inline",
        }  # fmt: skip
        assert all(c.isprintable() for c in line)
    flat = " ".join(foreign.split())
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in flat)
    assert "".join(t.content for t in MARKDOWN.parse(text(foreign))[1].children) == plain


@pytest.mark.parametrize("foreign", HOSTILE)
def test_foreign_text_in_a_cell_is_one_cell(foreign):
    table = f"| a | b |\n|--|--|\n| {text(foreign)} | {code(foreign)} |"

    cells = [token for token in MARKDOWN.parse(table) if token.type == "td_open"]

    assert len(cells) == 2


@pytest.mark.parametrize("foreign", HOSTILE)
def test_foreign_text_ends_no_block_of_code(foreign):
    content = as_yaml({"path": foreign, "list": [foreign]})

    (token,) = MARKDOWN.parse("\n".join(fenced(content, "yaml")))

    assert token.type == "fence" and token.content == content
    assert "\u202e" not in content
    if "\ud800" not in foreign:
        assert yaml.safe_load(token.content) == {"path": foreign, "list": [foreign]}


@pytest.mark.parametrize("foreign", HOSTILE)
def test_a_hostile_report_makes_a_plain_card(pair, foreign):
    report = copamerge.merge(pair, rank=1).report
    harmless = [t.type for t in tokens_of(model_card(report))]
    part = report.inputs[0].model_copy(
        update={
            "adapter": foreign,
            "revision": foreign,
            "sha256": {foreign: foreign},
            "weight": [{"filter": foreign, "value": 1}],
            "card": SourceCard(license=foreign, license_name=foreign, language=(foreign,)),
        }
    )
    report = report.model_copy(
        update={
            "inputs": (part, report.inputs[1]),
            "base_model": foreign,
            "hub_base": foreign,
            "task_type": foreign,
            "warnings": (foreign, f"{foreign}: more"),
            "worst_layer": foreign,
            "dtype": foreign,
            "learnt": foreign,
            "method": {"name": foreign, "density": foreign},
            "recipe": {**report.recipe, "layout": foreign, "base_model": foreign},
            "run": report.run.model_copy(update={"device": foreign, "torch": foreign}),
        }
    )

    card = model_card(report)

    card.encode("utf-8")
    found = [t.type for t in tokens_of(card)]
    for kind in ("heading_open", "table_open", "html_block", "hr", "blockquote_open"):
        # The one block of HTML is the mark.
        assert found.count(kind) == harmless.count(kind), kind
    # Of an unknown kind of task, nothing is said to vLLM.
    assert found.count("fence") == harmless.count("fence") - 1
    assert not {"html_inline", "image", "link_open", "s_open", "em_open"} & set(found)
    meta = ModelCard(card).data.to_dict()
    assert meta.keys() <= {"library_name", "tags"}
    assert all(c.isprintable() or c == "\n" for c in card)
    assert is_own(card)


def test_local_paths_are_shown_by_their_end():
    assert shown("/home/me/x/legal") == "x/legal"
    assert shown("C:\\Users\\me\\x\\legal") == "x/legal"
    assert shown("runs/out/x/legal") == "x/legal"
    assert shown("org/name") == "org/name"
    assert shown("org/name@v1:sub/deep") == "org/name@v1:sub/deep"
    assert shown("/") == "/"


# --- real ones -----------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="no real adapters beside the repository")
@pytest.mark.parametrize("group", ["gpt2-domains", "dialogpt"])
def test_cards_of_real_adapters_are_read_by_the_hub(tmp_path, group):
    adapters = sorted(path for path in (REAL / group).iterdir() if path.is_dir())
    card = ModelCard(card_of(merged(tmp_path / "out", *adapters, method="mean")))

    assert card.data.base_model and card.data.library_name == "peft"
    assert str(REAL) not in card.text.split("## Recipe")[0]
