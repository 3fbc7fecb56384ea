"""`python -m copamerge.cli`, for launchers that start modules (accelerate, torchrun)."""

from copamerge.cli import run

if __name__ == "__main__":
    run()
