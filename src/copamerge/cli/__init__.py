"""The command line: parse, call, print."""

from copamerge.cli._app import run

__all__ = ["run"]
