"""Coefficients from data: what needs a model in the loop, apart from the data-free methods.

`lorahub` and `adamerging` find the coefficients of a sum, `tune` any method's options; all write
an adapter that the ordinary merge made. They need the extra `learn`.
"""
