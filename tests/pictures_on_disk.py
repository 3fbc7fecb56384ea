"""The same small set of pictures in every form that an image set may have."""

from pathlib import Path

import numpy as np

NAMES = ("dark", "grey", "light")
SIDE = 8


def pictures(seed=0, each=None):
    """x (uint8, N x 8 x 8 x 3), y, split: of each class 20 for training, 4 for test."""
    each = each or {"train": 20, "test": 4}
    generator = np.random.default_rng(seed)
    x, y, split = [], [], []
    for part, count in each.items():
        for label in range(len(NAMES)):
            for _ in range(count):
                noise = generator.integers(0, 60, (SIDE, SIDE, 3))
                x.append((90 * label + noise).astype(np.uint8))
                y.append(label)
                split.append(part)
    return np.stack(x), np.array(y), np.array(split)


def as_npz(path: Path, x, y, split, **more) -> Path:
    np.savez_compressed(path, x=x, y=y, split=split, **more)
    return path


def as_folder(path: Path, x, y, split, names=NAMES) -> Path:
    from PIL import Image

    counts: dict[tuple[str, int], int] = {}
    for image, label, part in zip(x, y, split, strict=True):
        place = counts[part, label] = counts.get((part, label), -1) + 1
        folder = path / part / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{place:03}.png")
    return path


def as_tables(path: Path, x, y, split, names=NAMES, *, parquet=False) -> Path:
    import datasets
    from PIL import Image

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))}
    )
    parts = {}
    for part in dict.fromkeys(split.tolist()):
        rows = np.flatnonzero(split == part)
        content = {"image": [Image.fromarray(x[i]) for i in rows], "label": y[rows].tolist()}
        parts[part] = datasets.Dataset.from_dict(content, features=features)
    path.mkdir(parents=True, exist_ok=True)
    if parquet:
        (path / "data").mkdir()
        for part, table in parts.items():
            table.to_parquet(path / "data" / f"{part}-00000-of-00001.parquet")
    else:
        datasets.DatasetDict(parts).save_to_disk(path)
    return path
