"""Optional dependencies: asked for by name before work that needs them begins."""

from importlib.util import find_spec

from copamerge.errors import CopamergeError

BENCH = ("transformers", "peft", "PIL", "pycocoevalcap")
"""What answering and scoring import from the extra `bench`."""


def needs(extra: str, *modules: str) -> None:
    """Refuse to begin when one of these modules is not installed.

    Raises:
        CopamergeError: names them and the extra that brings them.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise CopamergeError(
            f"{', '.join(missing)} {verb} not installed; pip install 'copamerge[{extra}]'"
        )
