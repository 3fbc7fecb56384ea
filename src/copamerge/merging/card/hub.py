"""Whether a name is one of the Hub's: what the metadata of a card may link to."""

import re
from pathlib import Path

FOLDERS = frozenset(
    "base bases cache checkpoint checkpoints ckpt ckpts content data datasets home local mnt model "
    "models opt out output outputs pretrained pretrained_models results root runs saved scratch "
    "spaces tmp usr weights workspace".split()
)
"""First parts of names that are folders on somebody's disk, not owners on the Hub."""

OWNERLESS = re.compile(
    r"albert-(base|large|xlarge|xxlarge)-v[12]"
    r"|bert-(base|large)-(un)?cased(-whole-word-masking)?(-finetuned-(mrpc|squad))?"
    r"|bert-base-(chinese|multilingual-(un)?cased|german-cased|german-dbmdz-(un)?cased)"
    r"|camembert-base|ctrl|openai-gpt|transfo-xl-wt103|xlnet-(base|large)-cased"
    r"|distilbert-base-(un)?cased(-distilled-squad|-finetuned-sst-2-english)?"
    r"|distilbert-base-(german|multilingual)-cased|distilgpt2|distilroberta-base"
    r"|gpt2(-medium|-large|-xl)?|roberta-(base|large)(-openai-detector)?|roberta-large-mnli"
    r"|t5-(small|base|large|3b|11b)|xlm-roberta-(base|large)"
    r"|xlm-(clm|mlm)-[a-z0-9]+(-xnli15)?-(1024|1280|2048)"
)
"""Models from before the Hub had owners. Any other name without one is a folder's."""

ID = re.compile(
    r"(?!.*(--|\.\.|\.git$))([A-Za-z0-9]([\w.-]*\w)?/)?[A-Za-z0-9]([\w.-]*\w)?", re.ASCII
)
"""What huggingface_hub's `validate_repo_id` lets pass, in plain letters."""


def hub_id(name: str | None) -> str | None:
    """The Hub id that a base model's name is, or, of a path into a Hub cache, stands for.

    None for a local path, as far as a name shows that it is one.
    """
    name = (name or "").replace("\\", "/")
    if cached := re.search(r"(?:^|/)models--([^/]+?)--([^/]+?)/snapshots/[0-9a-f]{40}/?$", name):
        name = f"{cached[1]}/{cached[2]}"
    owner, _, rest = name.partition("/")
    if not rest and not OWNERLESS.fullmatch(name):
        return None
    if rest and owner.casefold() in FOLDERS:
        return None
    return name if ID.fullmatch(name) and len(name) <= 96 else None


def hub_base(name: str | None, *, sure: bool = False) -> str | None:
    """As `hub_id`, but of a name that is also a folder here only where somebody is `sure`."""
    found = hub_id(name)
    return None if found and found == name and not sure and Path(found).exists() else found
