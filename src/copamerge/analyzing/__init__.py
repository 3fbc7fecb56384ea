"""What `copamerge analyze` does: measure adapters and merges, layer by layer, into one record."""
