"""Other people's benchmarks for merged adapters: lm-evaluation-harness and lmms-eval."""
