"""Local entropy: how much low ground of the loss lies around a point.

`sgld.py` draws from the local Gibbs law, `free_energy.py` estimates the value, `thermodynamic.py`
and `variational.py` do so in two other ways, `local_entropy.py` is the measure.
"""
