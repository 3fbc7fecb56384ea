"""The paper's claims on directions and entries, on published adapters and on the mini zoo.

    python runs/directions.py [FOLDER ...]

Each FOLDER holds adapters of one base; without any: the two sets of the mini zoo that ships. Prints
the tables of docs/analysis.md. No model is run.
"""

import sys
from pathlib import Path
from statistics import fmean

from copamerge import Analysis, analyze
from copamerge.bench.zoo import open_zoo
from copamerge.recipe import recipe_from

METHODS = ("task_arithmetic", "copa", "tsv_m", "ties", "knots", "ctm")


def analysed(folder: Path) -> Analysis:
    adapters = [{"adapter": str(path)} for path in sorted(folder.iterdir()) if path.is_dir()]
    more = {"modules_to_save": "drop", "bias": "drop"}
    return analyze(recipe_from({"adapters": adapters, **more}), methods=METHODS)


def kept(found: Analysis) -> str:
    """Energy in kept directions / median angle of the first direction, over adapters."""
    cells = []
    for merge in found.merges:
        if merge.failed is not None:
            cells.append("-")
            continue
        shares = [x.preserved_energy for x in merge.traces if x.preserved_energy is not None]
        angles = [x[0].angle.median for x in merge.by_direction if x]
        cells.append(f"{fmean(shares):.0%} / {fmean(angles):.0f}")
    return " | ".join(cells)


def shapes(found: Analysis, factor: str) -> str:
    layers = sum(one.layers for one in found.adapters)
    counts = {
        shape: sum(getattr(one, factor).layers.get(shape, 0) for one in found.adapters)
        for shape in ("uniform", "Gaussian", "neither")
    }
    return " / ".join(f"{count / layers:.0%}" for count in counts.values())


def main() -> None:
    zoo = open_zoo().path
    folders = [Path(name) for name in sys.argv[1:]] or [zoo / "shared", zoo / "own"]
    found = {folder.name: analysed(folder) for folder in folders}
    print(f"| | {' | '.join(METHODS)} |\n|---|{'---|' * len(METHODS)}")
    for name, one in found.items():
        print(f"| {name} ({len(one.adapters)}) | {kept(one)} |")
    print("\n| | A: uniform / Gaussian / neither | B | what S changes |\n|---|---|---|---|")
    for name, one in found.items():
        change = "-" if one.copa.change is None else f"{one.copa.change:.1%}"
        print(f"| {name} | {shapes(one, 'A')} | {shapes(one, 'B')} | {change} |")


if __name__ == "__main__":
    main()
