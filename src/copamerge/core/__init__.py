"""Values every other part speaks in: modules, stacks, deltas, adapters."""
