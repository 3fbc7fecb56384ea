"""Folders and files that appear whole or not at all."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from copamerge.errors import OutputError

WRITTEN = {
    *("adapter_config.json", "adapter_model.safetensors", "merge.json", "README.md"),
    *("adapter_model.bin", "non_lora_trainables.bin", "config.json"),  # in LLaVA's layout
}
"""What a merge writes; a folder that holds more is not replaced."""
MARK = ".copamerge-"
"""Temporary siblings are called `.<name>.copamerge-<random>`."""

KEPT = "replaced"
"""Where a temporary sibling keeps the folder that is being replaced."""


class Check(Protocol):
    """Refuses a path that must not be written, such as `check_place`."""

    def __call__(self, out: Path, *, overwrite: bool) -> None: ...


def check_place(out: Path, *, overwrite: bool) -> None:
    """Refuse a path that is taken, before any work is done.

    With `overwrite` only an empty folder or one that an earlier merge wrote may be replaced.

    Raises:
        OutputError: the place is taken, or no folder can be made there.
    """
    try:
        _check_place(out, overwrite)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written here: {_reason(error)}") from None


@contextlib.contextmanager
def whole_folder(
    out: Path, *, overwrite: bool = False, check: Check = check_place
) -> Iterator[Path]:
    """A temporary sibling of `out` that becomes `out` when the block ends without an error.

    `check` decides whether the place may be written, or what is there replaced: before the block,
    and once more after it, since others may have written there meanwhile.

    Everything in it is flushed to disk before it is renamed. On an error, Ctrl-C included, the
    sibling is removed. A killed process cannot remove its own: the next merge to the same place
    does, recognising by a lock that nobody is writing there any more.

    Raises:
        OutputError: the place is taken (without `overwrite`), or cannot be written.
    """
    with _sibling(out, check, overwrite) as (temporary, asked, out):
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for path in sorted(temporary.rglob("*")):
            _flush(path)
        _flush(temporary)
        check(asked, overwrite=overwrite)
        if out.exists():
            _replace(out, temporary)
        else:
            temporary.rename(out)


def whole_file(out: Path, content: str, *, check: Check, overwrite: bool = False) -> None:
    """Write a text that appears with all of its content, or not at all, as `whole_folder` does.

    What `check` lets pass is replaced: at any time there is the old file or the new one.

    Raises:
        OutputError: `check` refuses the place, or it cannot be written.
    """
    with _sibling(out, check, overwrite) as (temporary, asked, out):
        file = temporary / out.name
        file.write_bytes(content.encode("utf-8"))
        _flush(file)
        check(asked, overwrite=overwrite)
        file.replace(out)


@contextlib.contextmanager
def _sibling(out: Path, check: Check, overwrite: bool) -> Iterator[tuple[Path, Path, Path]]:
    """A locked temporary folder beside `out`, `out` as asked for, and without links and dots.

    Raises:
        OutputError: `check` refuses the place, or the block cannot write.
    """
    asked, out = out, Path(os.path.abspath(out))  # noqa: PTH100 - `..` is resolved, links are not
    with contextlib.suppress(OSError):  # what cannot be swept is in nobody's way
        _sweep(out)
    check(asked, overwrite=overwrite)
    above = _missing_above(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}{MARK}", dir=out.parent))
    except OSError as error:
        _remove_empty(above)
        raise OutputError(f"{asked}: cannot be written here: {_reason(error)}") from None
    lock = _locked(temporary)
    try:
        yield temporary, asked, out
        _flush(out.parent)
    except OSError as error:
        left = "what was there is still there" if out.exists() else "nothing was left there"
        raise OutputError(f"{asked}: writing failed: {_reason(error)}; {left}") from None
    finally:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)
        _remove_empty(above)


def _replace(out: Path, temporary: Path) -> None:
    """Put `temporary` in the place of `out`; what was there survives until that is done."""
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}{MARK}", dir=out.parent))
    lock = _locked(aside)
    try:
        out.rename(aside / KEPT)
        try:
            temporary.rename(out)
        except OSError:
            (aside / KEPT).rename(out)
            raise
    finally:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(aside, ignore_errors=True)


def _check_place(out: Path, overwrite: bool) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise OutputError(f"{out}: exists and is not a folder; choose another output")
    if not out.exists():
        above = next(path for path in Path(os.path.abspath(out)).parents if path.exists())  # noqa: PTH100
        if not above.is_dir():
            raise OutputError(f"{out}: {above} is a file, not a folder; choose another output")
        if not os.access(above, os.W_OK | os.X_OK):
            raise OutputError(f"{out}: no permission to write in {above}; choose another output")
        return
    inside = {path.name for path in out.iterdir()}
    merged = not inside or "merge.json" in inside
    if not overwrite:
        remedy = "add --overwrite or choose another output" if merged else "choose another output"
        raise OutputError(f"{out}: already exists; {remedy}")
    if not merged:
        raise OutputError(
            f"{out}: was not written by a merge (no merge.json in it), so --overwrite leaves it "
            "alone; remove it yourself or choose another output"
        )
    if others := sorted(inside - WRITTEN):
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise OutputError(
            f"{out}: holds {', '.join(others[:3])}{more} beside an earlier merge, so --overwrite "
            "leaves it alone; move that away or choose another output"
        )


def _missing_above(out: Path) -> list[Path]:
    """Folders above `out` that do not exist yet, deepest first."""
    return [path for path in out.parents if not path.exists()]


def _remove_empty(folders: list[Path]) -> None:
    # What was made for an output that never came goes again; one that holds something stays.
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return f"{reason} (free some space, or choose another output)" if full else reason


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(folder: Path) -> int | None:
    """A lock on a folder that ends with this process; None where the system has none."""
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(out: Path) -> None:
    """Remove what killed merges to the same place left behind, and undo a half-done replacement."""
    name = re.compile(re.escape(f".{out.name}{MARK}") + r"[a-z0-9_]{8}")
    for stale in out.parent.iterdir():
        lock = _locked(stale) if name.fullmatch(stale.name) else None
        if lock is not None:
            if (stale / KEPT).is_dir() and not out.exists():
                (stale / KEPT).rename(out)
            shutil.rmtree(stale, ignore_errors=True)
            os.close(lock)
