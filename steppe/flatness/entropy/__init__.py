"""Local entropy: how much low ground of the loss lies around a point.

`sgld.py` draws from the local Gibbs law, `free_energy.py` estimates the value, `variational.py`
bounds it, `local_entropy.py` is the measure.
"""
