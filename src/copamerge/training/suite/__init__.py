"""Adapters of real bases on a suite's train splits: what `copamerge train --suite` does."""
