"""Any optax optimizer as an `AbstractOptimizer`, its numbers as arrays.

    FromOptax("adam", learning_rate=1e-3)                                θ = {learning_rate}
    FromOptax("sgd", learning_rate=0.1, momentum=0.9, nesterov=True)     nesterov is static

The numbers given are θ: they can be meta-trained, they change without recompiling, and a grid
of them is one `vmap`. Those not given keep optax's defaults as constants.

Departure from optax: the arithmetic is done in the widest dtype of the parameters, float32 at
least, and the state is kept in it. In bfloat16 Adam's β₂ = 0.999 would be 1. Updates come back
in the parameters' own dtypes.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from ...core import tree
from ...core.messages import did_you_mean, nearest
from ...core.optimizer import AbstractOptimizer
from ...core.task import Problem
from ...core.types import Key, OptState, Params, Scalar, Updates
from ...store.untrusted import OneOf

Factory = Callable[..., optax.GradientTransformation]
Plain = None | bool | int | float | str
Setting = Plain | tuple[Plain, ...] | Callable  # a file can hold all but the last
Settings = tuple[tuple[str, Setting], ...]

# What a transformation with **kwargs is sent; others must be declared by name. Not `grad_fn`:
# optax's line searches refuse every extra that is not an argument of `value_fn`.
OPTAX_EXTRAS = ("value", "grad", "value_fn")


# The only names that `FromOptax` looks up, since a checkpoint may give them: optimizers and
# transformations of numbers. Whatever takes a function or another transformation is left out.
FACTORIES = {
    "adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw",
    "adan", "amsgrad", "fromage", "lamb", "lars", "lbfgs", "lion", "nadam", "nadamw",
    "noisy_sgd", "novograd", "optimistic_adam", "optimistic_adam_v2",
    "optimistic_gradient_descent", "polyak_sgd", "radam", "rmsprop", "rprop", "sgd", "sign_sgd",
    "signum", "sm3", "yogi", "adaptive_grad_clip", "add_decayed_weights", "add_noise",
    "apply_every", "centralize", "clip", "clip_by_block_rms", "clip_by_global_norm", "ema",
    "identity", "keep_params_nonnegative", "normalize_by_update_norm", "scale",
    "scale_by_adadelta", "scale_by_adam", "scale_by_adamax", "scale_by_adan",
    "scale_by_amsgrad", "scale_by_backtracking_linesearch", "scale_by_belief",
    "scale_by_distance_over_gradients", "scale_by_lbfgs", "scale_by_learning_rate",
    "scale_by_lion", "scale_by_novograd", "scale_by_optimistic_gradient",
    "scale_by_param_block_norm", "scale_by_param_block_rms", "scale_by_polyak",
    "scale_by_radam", "scale_by_rms", "scale_by_rprop", "scale_by_rss", "scale_by_sign",
    "scale_by_sm3", "scale_by_stddev", "scale_by_trust_ratio", "scale_by_yogi",
    "scale_by_zoom_linesearch", "set_to_zero", "trace", "zero_nans", "contrib.acprop",
    "contrib.ademamix", "contrib.adopt", "contrib.cocob", "contrib.dadapt_adamw",
    "contrib.differentially_private_aggregate", "contrib.dpsgd", "contrib.galore",
    "contrib.madgrad", "contrib.momo", "contrib.momo_adam", "contrib.muon", "contrib.normalize",
    "contrib.prodigy", "contrib.reduce_on_plateau", "contrib.schedule_free_adamw",
    "contrib.schedule_free_sgd", "contrib.simplified_ademamix", "contrib.sophia",
}  # fmt: skip

# Those of them that take losses and gradients on the way until they like a step.
LINE_SEARCHES = {"lbfgs", "scale_by_backtracking_linesearch", "scale_by_zoom_linesearch"}


class FromOptax(AbstractOptimizer):
    """`optax.<make>(**hyper, **settings)`. State: optax's own.

    `make` is one of the names `FACTORIES` ("adam", "contrib.prodigy") or a factory, which no
    checkpoint can describe. Floats and 0-d arrays among the hyper-parameters are θ; the others
    (booleans, integers, None, strings, functions) move to `settings`, which are static. A float
    that optax must see as a number goes into `settings` by hand.
    """

    make: str | Factory = eqx.field(static=True)
    settings: Settings = eqx.field(static=True)
    hyper: dict[str, Array]

    def __init__(
        self,
        make: Annotated[str, OneOf(FACTORIES)] | Factory,
        settings: Mapping[str, Setting] | Settings = (),
        **hyper: Array | np.generic | Setting,
    ):
        numbers = {name: value for name, value in hyper.items() if _is_number(value)}
        others = {name: value for name, value in hyper.items() if name not in numbers}
        self.make = make
        self.settings = tuple(sorted({**dict(settings), **others}.items()))
        # Always the default float dtype: a checkpoint keeps the number and not its dtype.
        self.hyper = {name: jnp.asarray(x, jnp.result_type(float)) for name, x in numbers.items()}

    def __check_init__(self):
        if not (isinstance(self.make, str) or callable(self.make)):
            raise ValueError(
                f"FromOptax: make is {self.make!r}, expected the name of an optax factory such as "
                "'adam', or a function."
            )
        name = _name(self.make)
        given = {**self.hyper, **dict(self.settings)}
        signature = inspect.signature(_factory(self.make))
        takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        for argument, value in given.items():
            if argument not in signature.parameters and not takes_any:
                raise ValueError(
                    f"FromOptax: {name} has no argument {argument!r}; "
                    f"{did_you_mean(argument, signature.parameters)}"
                )
            if argument in self.hyper and jnp.ndim(self.hyper[argument]) != 0:
                raise ValueError(
                    f"FromOptax: {argument} of {name} has shape {jnp.shape(value)}, expected one "
                    "number; for a grid build the optimizer inside a `vmap`."
                )
        try:
            hash(self.settings)
        except TypeError as error:
            raise ValueError(
                f"FromOptax: the settings {dict(self.settings)} of {name} cannot be hashed "
                "(a list, a dict or an array), which static values must be; give tuples."
            ) from error
        try:
            signature.bind(**given)
        except TypeError as error:
            raise ValueError(f"FromOptax: {name} cannot be called ({error}).") from error
        made = self.transformation(jnp.dtype(jnp.float32))
        if not (callable(getattr(made, "init", None)) and callable(getattr(made, "update", None))):
            raise ValueError(
                f"FromOptax: {name} makes a {type(made).__name__}, expected a gradient "
                "transformation, that is a pair (init, update)."
            )

    @property
    def extra_gradients(self) -> int | None:
        """None for a line search. A factory of your own is taken to have none."""
        searches = dict(self.settings).get("linesearch", self.make) is not None
        return None if self.make in LINE_SEARCHES and searches else 0

    def transformation(self, dtype: jnp.dtype) -> optax.GradientTransformation:
        """The optax object, with the hyper-parameters in `dtype`."""
        hyper = {name: x.astype(dtype) for name, x in self.hyper.items()}
        return _factory(self.make)(**hyper, **dict(self.settings))

    def init(self, params: Params, *, key: Key | None = None) -> OptState:
        params = tree.real(params, "FromOptax")
        dtype = tree.working_dtype(params)
        # optax multiplies and raises to powers across dtypes, which steppe's users may forbid.
        with jax.numpy_dtype_promotion("standard"):
            return tree.strongly_typed(self.transformation(dtype).init(tree.cast(params, dtype)))

    def update(
        self,
        grads: Updates,
        state: OptState,
        params: Params | None,
        *,
        value: Scalar | None = None,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, OptState]:
        like = grads if params is None else params
        dtype = tree.working_dtype(like)
        tx = self.transformation(dtype)
        offered = {"grad": tree.cast(grads, dtype)}
        if value is not None:
            offered["value"] = jnp.asarray(value, dtype)
        if problem is not None:
            offered["value_fn"] = lambda p: problem.value(tree.cast_like(p, like)).astype(dtype)
            offered["grad_fn"] = lambda p, _: tree.cast(
                problem.grad(tree.cast_like(p, like)), dtype
            )
        with jax.numpy_dtype_promotion("standard"):
            updates, after = tx.update(
                tree.cast(grads, dtype),
                state,
                None if params is None else tree.cast(params, dtype),
                **_declared(tx.update, {**offered, **extra}),
            )
        return tree.cast_like(updates, like), tree.cast_like(after, state)


def sgd(lr: float | Scalar) -> FromOptax:
    """θ ← θ − lr · g."""
    return FromOptax("sgd", learning_rate=_float(lr))


def momentum(lr: float | Scalar, decay: float | Scalar = 0.9) -> FromOptax:
    """m ← decay · m + g, θ ← θ − lr · m (Polyak 1964)."""
    return FromOptax("sgd", learning_rate=_float(lr), momentum=_float(decay))


def nesterov(lr: float | Scalar, decay: float | Scalar = 0.9) -> FromOptax:
    """m ← decay · m + g, θ ← θ − lr · (g + decay · m) (Nesterov 1983, as Sutskever et al. 2013)."""
    return FromOptax("sgd", learning_rate=_float(lr), momentum=_float(decay), nesterov=True)


def adam(lr: float | Scalar) -> FromOptax:
    """Kingma & Ba 2015 with β₁ = 0.9, β₂ = 0.999, ε = 1e-8; θ is the learning rate alone.

    To train the others too, or to meta-train in second-order mode, set `eps_root`: √v has an
    infinite derivative at the coordinates whose gradients have all been zero.

        FromOptax("adam", learning_rate=1e-3, b1=0.9, b2=0.999, settings={"eps_root": 1e-16})
    """
    return FromOptax("adam", learning_rate=_float(lr))


def rmsprop(lr: float | Scalar) -> FromOptax:
    """v ← 0.9 v + 0.1 g², θ ← θ − lr · g / √(v + 1e-8) (Tieleman & Hinton 2012)."""
    return FromOptax("rmsprop", learning_rate=_float(lr))


def _float(x: float | Scalar) -> Array:
    return jnp.asarray(x, jnp.result_type(float))


def _is_number(value: object) -> bool:
    """True for a hyper-parameter that is trained: a float, or an array of floats."""
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return jnp.issubdtype(value.dtype, jnp.floating)
    return isinstance(value, float)


def _factory(make: str | Factory) -> Callable:
    """The optax function of a name, which may come from a file: checked before any look-up."""
    if not isinstance(make, str):
        return make
    if make not in FACTORIES:
        near = nearest(make, FACTORIES)
        raise ValueError(
            f"FromOptax knows no factory {make[:80]!r}"
            f"{f', did you mean {near!r}?' if near else '.'} "
            "Give one of steppe's names for optax factories, or, in Python, the function itself."
        )
    module, _, name = make.rpartition(".")
    found = getattr(optax.contrib if module else optax, name, None)
    if not callable(found):
        raise ValueError(f"optax {optax.__version__} has no factory {make!r}; install a newer one.")
    return found


def _name(make: str | Factory) -> str:
    return f"optax.{make}" if isinstance(make, str) else getattr(make, "__name__", repr(make))


def _declared(update: Callable, offered: Mapping[str, object]) -> dict[str, object]:
    """The extras that a transformation asks for: `optax.contrib.sam` fails on any other."""
    parameters = inspect.signature(update).parameters
    names = set(parameters)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        names |= set(OPTAX_EXTRAS)
    return {name: value for name, value in offered.items() if name in names}
