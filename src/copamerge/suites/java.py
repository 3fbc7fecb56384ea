"""Is there a Java that runs? Caption scores with METEOR need one; the others do not."""

import shutil
import subprocess
from functools import lru_cache


def java_there() -> bool:
    """Whether the `java` on the path starts. Where there is none, `caption6` can be used."""
    return (path := shutil.which("java")) is not None and _starts(path)


@lru_cache(maxsize=8)
def _starts(path: str) -> bool:
    # A file of that name proves little: on a Mac without Java it is a stub that says so.
    try:
        return subprocess.run([path, "-version"], capture_output=True).returncode == 0
    except OSError:
        return False
