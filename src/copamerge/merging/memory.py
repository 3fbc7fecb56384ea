"""How much memory the program takes, as far as the system tells."""

import ctypes
import gc
import resource
import sys
from pathlib import Path


def peak_mb() -> float:
    """Megabytes that the program has held at most."""
    # Of this program alone: getrusage also counts what the process was before it started us.
    peak = _status_mb("VmHWM")
    if peak is not None:
        return peak
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def begun_anew() -> float | None:
    """Megabytes that the program holds, with the count of its peak begun anew; None: not here."""
    gc.collect()
    try:
        # What was freed before would otherwise be taken again without being counted.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):
        return None
    return _status_mb("VmRSS")


def added_since(before: float | None) -> float | None:
    """How far the peak has risen above what `begun_anew` said, in megabytes."""
    peak = None if before is None else _status_mb("VmHWM")
    return None if before is None or peak is None else round(max(0.0, peak - before), 1)


def _status_mb(key: str) -> float | None:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split(f"{key}:")[1].split()[0]) / 2**10
    except (OSError, IndexError, ValueError):
        return None
