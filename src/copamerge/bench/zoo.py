"""A zoo: a base model and the adapters trained on it, in one folder with a manifest of hashes.

    base/                the base model, as transformers saves it
    shared/<task>/       adapters that began from the same A, one per seen task
    own/<task>/          adapters that each began from their own
    mtl/                 one adapter trained on all seen tasks together
    manifest.json        {"files": {path: {"sha256", "bytes"}}, "script": ..., "criteria": ...}

Other sets of adapters (`rank4/<task>/`, ...) and models (`full/<task>/`) may stand beside them;

    python -m copamerge.bench.zoo ZOO

writes the manifest anew when some were added, and the first one of adapters from elsewhere.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from copamerge.bench.units import file_sha256
from copamerge.errors import SuiteError, did_you_mean, first_few

MANIFEST = "manifest.json"
BASE, MTL, ADAPTER = "base", "mtl", "adapter_config.json"


@dataclass(frozen=True)
class Zoo:
    """A zoo whose files are what its manifest says."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def base(self) -> Path:
        return self.path / BASE

    @property
    def mtl(self) -> Path | None:
        """The multi-task adapter; None in a zoo without one."""
        folder = self.path / MTL
        return folder if (folder / ADAPTER).is_file() else None

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the sets of adapters: `own`, `shared`, ..."""
        return tuple(
            sorted(
                folder.name
                for folder in self.path.iterdir()
                if folder.is_dir()
                and folder.name not in (BASE, MTL)
                and any(folder.glob(f"*/{ADAPTER}"))
            )
        )

    def adapters(self, name: str) -> dict[str, Path]:
        """The adapters of a set, or of a folder further down such as `ranks/8`, by task.

        Raises:
            SuiteError: there is no set of this name.
        """
        found = sorted((self.path / name).glob(f"*/{ADAPTER}"))
        if not found:
            raise SuiteError(
                f"{self.path}: no set of adapters {name!r}{did_you_mean(name, self.sets)}"
            )
        return {config.parent.name: config.parent for config in found}


def open_zoo(path: Path | None = None) -> Zoo:
    """The zoo in this folder, or for None the one that ships; every file's hash is checked.

    Raises:
        SuiteError: no zoo, or files that are missing, changed, or not in the manifest; all of
            them.
    """
    shipped = path is None
    folder = path or _shipped()
    if shipped and not folder.is_dir():
        raise SuiteError(
            "no zoo came with this copy of copamerge; train one by `copamerge train`, and give "
            "its folder by --zoo"
        )
    manifest = _manifest(folder)
    if problems := _problems(folder, manifest["files"], shipped):
        raise SuiteError(problems)
    return Zoo(folder, manifest)


def shipped_base() -> Path:
    """The base model of the zoo that ships.

    Raises:
        SuiteError: as `open_zoo` does.
    """
    return open_zoo().base


def write_manifest(
    folder: Path, *, script: str | None = None, criteria: Mapping[str, Any] | None = None
) -> Path:
    """Write down the hash and size of every file in a zoo; last, when the zoo is finished."""
    content = {
        "files": {
            name: {"sha256": file_sha256(path), "bytes": path.stat().st_size}
            for name, path in _files(folder).items()
        },
        "script": script,
        "criteria": dict(criteria) if criteria is not None else None,
    }
    path = folder / MANIFEST
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def renew_manifest(folder: Path) -> Path:
    """Write the manifest of a zoo to which sets were added; what it says of criteria stays.

    A folder of adapters without one, as other tools leave it, gets its first.

    Raises:
        SuiteError: no zoo, or files of the old manifest that are missing or changed.
    """
    if not (folder / MANIFEST).exists():
        if not any(folder.glob(f"*/*/{ADAPTER}")):
            raise SuiteError(
                f"{folder}: no adapters are there; put each into {folder}/shared/<task>/"
            )
        return write_manifest(folder)
    manifest = _manifest(folder)
    if problems := _changed(folder, manifest["files"], shipped=False):
        raise SuiteError(problems)
    return write_manifest(folder, script=manifest["script"], criteria=manifest["criteria"])


def _shipped() -> Path:
    return Path(str(files("copamerge"))) / "zoo" / "mini"


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {str(k): (str(v["sha256"]), int(v["bytes"])) for k, v in content["files"].items()}
    except OSError:
        raise SuiteError(
            f"{folder}: not a zoo (no {MANIFEST} in it); `copamerge train` makes one, and of "
            f"adapters in {folder}/shared/<task>/ python -m copamerge.bench.zoo {folder}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SuiteError(f"{path}: damaged; copy the zoo again") from None
    return {**content, "files": files}


def _problems(folder: Path, wanted: Mapping[str, tuple[str, int]], shipped: bool) -> list[str]:
    extra = [
        f"{folder / name}: not in the manifest; remove it, or write the manifest anew by "
        f"python -m copamerge.bench.zoo {folder}"
        for name in sorted(_files(folder).keys() - wanted.keys())
    ]
    return [
        *_changed(folder, wanted, shipped),
        *first_few(extra, str(folder), "more files that are not in the manifest"),
    ]


def _changed(folder: Path, wanted: Mapping[str, tuple[str, int]], shipped: bool) -> list[str]:
    """What is wrong with the files that the manifest names."""
    remedy = (
        "reinstall copamerge, or in a git checkout `git checkout` that file"
        if shipped
        else "copy it again from where the zoo came from"
    )
    there = _files(folder)
    changed = []
    for name in sorted(wanted.keys() & there.keys()):
        sha256, size = wanted[name]
        found = there[name].stat().st_size
        if found != size:
            changed.append(f"{there[name]}: {found} bytes, the manifest says {size}; {remedy}")
        elif file_sha256(there[name]) != sha256:
            changed.append(f"{there[name]}: its hash is not the manifest's; {remedy}")
    missing = [
        f"{folder / name}: missing; {remedy}" for name in sorted(wanted.keys() - there.keys())
    ]
    return [
        *first_few(changed, str(folder), "more files that differ from the manifest"),
        *first_few(missing, str(folder), "more files missing"),
    ]


def _files(folder: Path) -> dict[str, Path]:
    """Every file of a zoo by its relative path; hidden ones and Python's caches are no part."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path != folder / MANIFEST
        and not any(
            part.startswith(".") or part == "__pycache__" for part in path.relative_to(folder).parts
        )
    }


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m copamerge.bench.zoo")
    parser.add_argument("zoo", type=Path)
    try:
        sys.stdout.write(f"wrote {renew_manifest(parser.parse_args(words).zoo)}\n")
    except SuiteError as error:
        sys.stderr.write("".join(f"error: {problem}\n" for problem in error.problems))
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
