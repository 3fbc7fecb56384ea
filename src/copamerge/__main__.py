"""`python -m copamerge`: the command, for launchers that start modules."""

from copamerge.cli import run

run()
