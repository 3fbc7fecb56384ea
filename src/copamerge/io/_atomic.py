"""Folders that appear whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from copamerge.errors import OutputError

MARK = ".copamerge-"
"""Temporary siblings are called `.<name>.copamerge-<random>`."""


@contextlib.contextmanager
def whole_folder(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary sibling of `out` that becomes `out` when the block ends without an error.

    Everything in it is flushed to disk before it is renamed. On an error, Ctrl-C included, the
    sibling is removed. A killed process cannot remove its own: the next merge to the same place
    does, recognising by a lock that nobody is writing there any more.

    Raises:
        OutputError: the place is taken (without `overwrite`), or cannot be written.
    """
    check_place(out, overwrite=overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}{MARK}", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written here: {error.strerror}") from None
    lock = _locked(temporary)
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for path in sorted(temporary.rglob("*")):
            _flush(path)
        _flush(temporary)
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}{MARK}", dir=out.parent))
            out.rename(old / "old")
            try:
                temporary.rename(out)
            except OSError:
                (old / "old").rename(out)
                raise
            finally:
                shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(out)
        _flush(out.parent)
    except OSError as error:
        raise OutputError(
            f"{out}: writing failed: {error.strerror or error}; nothing was left there"
        ) from None
    finally:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)


def check_place(out: Path, *, overwrite: bool) -> None:
    """Refuse a path that is taken, before any work is done.

    With `overwrite` only an empty folder or one that an earlier merge wrote may be replaced.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise OutputError(f"{out}: exists and is not a folder; choose another output")
    if not out.exists():
        return
    if not overwrite:
        raise OutputError(f"{out}: already exists; add --overwrite or choose another output")
    if any(out.iterdir()) and not (out / "merge.json").exists():
        raise OutputError(
            f"{out}: was not written by a merge (no merge.json in it), so --overwrite leaves it "
            "alone; remove it yourself or choose another output"
        )


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
    """Remove what killed merges to the same place left behind."""
    for stale in out.parent.glob(f".{out.name}{MARK}*"):
        lock = _locked(stale)
        if lock is not None:
            shutil.rmtree(stale, ignore_errors=True)
            os.close(lock)
