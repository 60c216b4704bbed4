"""Learned optimizers in PyTorch: `torch.optim.Optimizer`, no JAX.

    import torch
    from steppe.torch import LearnedOptimizer

    opt = LearnedOptimizer(model.parameters(), "rnnprop-flat-v1")

The file of weights is the one that the JAX library reads; both give the same trajectories.
"""

from ..core.messages import missing

try:
    import torch as _  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(missing(error)) from None

from .optimizer import LearnedOptimizer, read_rule
from .rules import AbstractRule

__all__ = ["AbstractRule", "LearnedOptimizer", "read_rule"]
