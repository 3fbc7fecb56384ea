"""Training of bases and adapters; needs the extra `bench`, meets merging in folders only."""
