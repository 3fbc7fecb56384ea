"""CLIP on eight image classification sets, from Cars to SVHN."""
