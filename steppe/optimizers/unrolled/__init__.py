"""Unrolled networks: layers that are the first steps of a solver, with trained numbers in them."""
