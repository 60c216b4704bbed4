"""steppe: learning to optimize in JAX.

    import jax
    import optax
    import steppe

    opt = steppe.RNNProp(key=jax.random.key(0))
    opt, history = steppe.meta_train(
        steppe.Quadratic(), opt, estimator=steppe.BPTT(), objective=steppe.Trajectory(),
        meta_tx=optax.adam(1e-3), steps=1000, key=jax.random.key(1),
    )
    steppe.save("rnnprop.safetensors", opt)
    tx = steppe.to_optax(opt)

Names are looked up on first use: `import steppe` imports neither JAX nor anything else.
"""

from .core.lazy import attach

_look_up, __dir__, __all__ = attach(__name__, __file__)


def __getattr__(name: str):
    if name == "__version__":
        from importlib.metadata import version

        return version("steppe")
    return _look_up(name)
