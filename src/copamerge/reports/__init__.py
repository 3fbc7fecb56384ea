"""What runs and merges showed: tables, figures, maps and pages, from their folders alone."""

from copamerge.reports.run import Run, open_run, open_runs
from copamerge.reports.write import write_report

__all__ = ["Run", "open_run", "open_runs", "write_report"]
