"""What a benchmark run showed: tables, figures and a page, from run folders alone."""

from copamerge.reports.run import Run, open_run, open_runs
from copamerge.reports.write import write_report

__all__ = ["Run", "open_run", "open_runs", "write_report"]
