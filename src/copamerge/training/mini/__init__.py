"""From nothing to the mini zoo: a small LLaVA, an adapter for each seen task, one for all."""
