"""The benchmark: how well a merged adapter does its tasks."""
