"""One merge in a page: what was merged, how, what was lost in which layer."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import yaml

from copamerge.reports.document import (
    bullets,
    flat,
    fold,
    name_cell,
    number_cell,
    sortable,
    ticked,
    word_cell,
)
from copamerge.reports.heat import heat_html
from copamerge.reports.merge_layers import (
    COSINE,
    NORM,
    layer_maps,
    layer_table,
    measured,
)
from copamerge.reports.merges import Merge
from copamerge.reports.tables import MISSING


def section(merge: Merge, i: int, *, several: bool) -> str:
    """All of one merge; with `several` in a page, under a heading of its own."""
    report = merge.report
    head = f"<h2>{flat(f'{merge.method}: {merge.name}')}</h2>" if several else ""
    h = "h3" if several else "h2"
    parts = [
        f'<section id="merge-{i}">{head}',
        f"<{h}>What was merged</{h}>{_sources(merge)}",
        bullets(_partial(merge)),
        f"<{h}>How, and what was lost</{h}>{_facts(merge)}",
        _saved(merge),
        f"<{h}>Layer by layer</{h}>",
        heat_html(layer_maps(merge, f"layers-{i}")) if report.layers else "<p>No layers.</p>",
        layer_table(merge) if report.layers else "",
        fold("Files and their sha256", _files(merge)),
        fold("The recipe", f"<pre><code>{escape(recipe_yaml(report.recipe))}</code></pre>"),
        "</section>",
    ]
    return "\n".join(parts)


def _sources(merge: Merge) -> str:
    heads = ["Adapter", "Weight", "Rank", "Scaling", "Layers merged", "Norm", "Cosine to the merge"]
    heads += ["Type", "Base", "Tensors", "Left out", "Revision", "sha256"]
    rows = []
    for one, name in zip(merge.report.inputs, merge.inputs, strict=True):
        low, high = one.scalings
        digest = next(iter(one.sha256.values()), MISSING)
        left = len(one.dropped) + len(one.ignored)
        cells = [
            f'<th scope="row" title="{flat(one.adapter)}">{flat(name)}</th>',
            _weight(one.weight),
            word_cell(", ".join(map(str, one.ranks))),
            number_cell(high, f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"),
            number_cell(one.layers_merged, f"{one.layers_merged} of {one.layers}"),
            measured(NORM, one.delta_norm, "it takes part in no layer"),
            measured(COSINE, one.cosine, "a delta is zero"),
            word_cell(", ".join(one.dtypes)),
            word_cell(one.base_model or MISSING),
            number_cell(one.tensors, str(one.tensors)),
            number_cell(left, str(left)),
            word_cell(one.revision or MISSING),
            f'<td class="word" title="{flat(digest)}"><code>{flat(digest[:12])}</code></td>',
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return sortable(
        heads,
        rows,
        "In the recipe's order. Norms are with the scaling, before weights; left out are tensors "
        "that say nothing new, and full tensors that the recipe drops; sha256 is of the weights.",
    )


def _files(merge: Merge) -> str:
    lines = [
        f"{digest}  {one.adapter}/{file}"
        for one in merge.report.inputs
        for file, digest in one.sha256.items()
    ]
    return f"<pre><code>{escape(chr(10).join(lines))}</code></pre>"


def _weight(weight: Any) -> str:
    if isinstance(weight, int | float):
        return number_cell(weight, str(weight) if isinstance(weight, int) else f"{weight:g}")
    return word_cell(json.dumps(weight))


def _partial(merge: Merge) -> list[str]:
    """Layers that not all adapters took part in, by who did."""
    report = merge.report
    everyone = tuple(range(len(report.inputs)))
    found: dict[tuple[int, ...], list[str]] = {}
    for layer in report.layers:
        if layer.adapters != everyone:
            found.setdefault(layer.adapters, []).append(layer.layer)
    said = []
    for who, names in found.items():
        without = [i for i in everyone if i not in who]
        whose = f"without {_names(merge, without)}"
        if len(without) >= len(who):
            whose = f"only of {_names(merge, who)}"
        some = f"`{_safe(names[0])}`{' and so on' if len(names) > 1 else ''}"
        said.append(f"{count(len(names), 'layer')} {whose}: {some}.")
    if report.layers_silent:
        first = _safe(report.layers_silent[0])
        said.append(
            f"{count(len(report.layers_silent), 'layer')} left out, as every weight is 0 there: "
            f"`{first}`{' and so on' if len(report.layers_silent) > 1 else ''}."
        )
    return said or ["All adapters take part in every layer."]


def _names(merge: Merge, who: Sequence[int]) -> str:
    return ", ".join(merge.inputs[i] for i in who)


def _safe(name: str) -> str:
    """A name inside backticks."""
    return name.replace("`", "'")


def _facts(merge: Merge) -> str:
    report, run = merge.report, merge.report.run
    kept = "the merged delta is zero"
    if report.energy_kept_worst == 1.0:
        kept = "all of the method's answer, exactly"
    elif report.energy_kept is not None and report.energy_kept_worst is not None:
        worst = f" (`{_safe(report.worst_layer)}`)" if report.worst_layer else ""
        kept = (
            f"{100 * report.energy_kept:.2f} % of the method's answer in all, "
            f"{100 * report.energy_kept_worst:.2f} % in the worst layer{worst}"
        )
    size = f", {merge.size:.3g} times the mean of its inputs" if merge.size is not None else ""
    rounding = (
        "none" if not report.rounding_worst else f"at most {report.rounding_worst:.1e} of a factor"
    )
    facts = [
        ("Method", f"`{_safe(merge.method)}`: {options(report.method) or 'no options'}"),
        ("Energy kept by the rank", kept),
        ("Norm", f"{report.norm:.4g}{size}"),
        ("Rank and type", f"{report.rank}, {report.dtype}; rounding {rounding}"),
        ("Base model", report.base_model or "not named"),
        ("Written", f"{count(report.tensors, 'tensor')}, {len(report.saved)} of them full"),
        (
            "Took",
            f"{run.seconds:.1f} s and at most {run.peak_memory_mb:.0f} MB of memory on "
            f"{run.device}",
        ),
        ("Versions", f"copamerge {run.copamerge}, torch {run.torch}, Python {run.python}"),
    ]
    if report.survey:
        found = ", ".join(f"{name} {value:.4g}" for name, value in report.survey.items())
        facts.insert(1, ("Surveyed first", f"{found} ({report.survey_passes} passes)"))
    items = "".join(f"<dt>{name}</dt><dd>{ticked(text)}</dd>" for name, text in facts)
    return f'<dl class="facts">{items}</dl>'


def options(method: Mapping[str, Any]) -> str:
    """A method's options in words."""
    return ", ".join(
        f"{option} {value if isinstance(value, str) else json.dumps(value)}"
        for option, value in method.items()
        if option != "name" and not (option == "rule" and value == method.get("name"))
    )


def _saved(merge: Merge) -> str:
    rows = []
    for one in merge.report.saved:
        whose = ", ".join(merge.inputs[i] for i in one.adapters if i < len(merge.inputs))
        spread = "" if one.spread is None else f"{100 * one.spread:.2f} %"
        cells = [name_cell(one.tensor), word_cell(one.policy), word_cell(whose)]
        cells.append(number_cell(one.spread, spread, "there is nothing to compare"))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    if not rows:
        return ""
    heads = ["Full tensor", "Policy", "Adapters", "Farthest input"]
    caption = "Farthest input: its distance from the written tensor, relative to its norm"
    return fold(f"{count(len(rows), 'full tensor')}", sortable(heads, rows, caption))


def recipe_yaml(recipe: Mapping[str, Any]) -> str:
    """The recipe as one writes it, without what says nothing."""
    said = {key: value for key, value in recipe.items() if value not in (None, False)}
    if isinstance(adapters := said.get("adapters"), list):
        said["adapters"] = [
            {key: value for key, value in one.items() if value is not None}
            if isinstance(one, dict)
            else one
            for one in adapters
        ]
    return yaml.safe_dump(said, sort_keys=False, allow_unicode=True).strip()


def count(count: int, what: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{count} {what}{'s' * (count != 1)}"
