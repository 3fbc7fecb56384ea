"""What a merge does to its inputs, layer by layer: pure functions of factors, in float64."""
