"""L2O-Scale: a recurrent network for each coordinate, one for each tensor, one for the problem.

    A_k ← d_k A_k + (1−d_k) g,   M_k ← s M_k + (1−s) A_k²     d_{k+1} = √d_k, k = 1 … S
    ĝ_k = asinh(A_k / √M_k),   x = [ĝ, ĝ_k ĝ_{k+1}, ln M_k − mean, ℓ − mean ℓ]
    h ← GRU₀(x, h; P t + G p)                       a coordinate, its gates biased from above
    t ← GRU₁(mean over the tensor of [h, x], t; Q p),   p ← GRU₂(mean over tensors of t, p)
    δ = w·h + a·ĝ, divided by its root mean square over the tensor
    ℓ' = clip(ℓ + r·h),   ℓ ← ρ ℓ + (1−ρ) ℓ',   θ ← θ − e^(ℓ'+b) δ
    d₁, s ← σ(·h)                                   for the next step

Wichrowska et al., "Learned optimizers that scale and generalize", ICML 2017, with the effective
defaults of the published Open-L2O code (Chen et al., JMLR 2022).

Departures:
- The published problem level sees the last tensor only. Here it sees the mean over all;
  `pool="last"` restores the defect, for comparisons.
- The trained start of h, t and p is read at the first step instead of sitting in the first
  state, where truncated back-propagation would not see it.
- asinh without cancellation; all coordinates go through as one matrix (`tensors.py`).
"""

import math
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ...core import tree
from ...core.optimizer import AbstractOptimizer, split_meta
from ...core.task import Problem
from ...core.types import Key, Params, Scalar, Updates
from .. import settings
from ..settings import FLOOR, Scales, Widths
from .tensors import Affine, BiasGRU, Layout, Readout, clip, over, roots, sigmoid, weights

SQUARE = 1e-12  # added to A² (published code)
EPS = 1e-16  # added to mean squares under roots and logarithms (published code)
EXTREMES = math.log(1e-6), math.log(1.0)  # rates outside are extreme (published code)
USUAL = math.log(1e-3)  # from which `lr_shortcut` counts (published code)
DECAYS = 0.93, 0.89  # of mean squares and of gradients, where they are not learned (published code)


class ScaleState(eqx.Module):
    """State of L2O-Scale: arrays (height, columns) as in `Layout`, features first.

    None where the options leave a part out. `h`, `t` and `p` are zeros before the first step,
    which starts from the trained vectors.
    """

    count: Int[Array, ""]
    h: Float[Array, "hidden height columns"]
    t: Float[Array, "hidden tensors"] | None
    p: Float[Array, "hidden 1"] | None
    averages: Float[Array, "scales height columns"]  # A_k
    squares: Float[Array, "scales height columns"]  # M_k
    input_decay: Float[Array, "height columns"]  # d₁
    decay: Float[Array, "height columns"]  # s
    log_lr: Float[Array, "height columns"] | None  # ℓ
    ahead: Float[Array, "height columns"] | None  # from the parameters to the attended point


class Scale(AbstractOptimizer):
    """Wichrowska et al. 2017. State: hidden + 2·scales + 3 floats a coordinate (21).

    In parentheses the flag of the published code, where its name is another.

    - `levels`: hidden units of a coordinate, of a tensor, of the problem; the upper levels may
      be left out (level_sizes)
    - `scales`: gradient averages of a coordinate, each with twice the time scale of the one
      before (num_gradient_scales)
    - `lr_range`: first learning rates, logarithmically; half of the exponent is drawn for each
      coordinate and half for each tensor. Without a key all are the geometric mean of the range
      (init_lr_range)
    - `max_log_lr`: bound of the logarithm of the learning rate, passed by gradients as if there
      were none
    - `dynamic`: learned rates and a direction of norm 1 per coordinate; without, θ ← θ − δ
      (dynamic_output_scale)
    - inputs of a coordinate besides ĝ: `products` ĝ_k ĝ_{k+1} (use_grad_products), `log_squares`
      (use_log_means_squared), `relative_lr` ℓ − mean ℓ, over the problem with `problem_mean`,
      else over the tensor (use_problem_lr_mean), `extreme` (use_extreme_indicator), `lr_shortcut`
    - `gradient_shortcut`: the term a·ĝ of the direction
    - `decay_scales`: s_{k+1} = √s_k instead of one s for all M_k (use_multiple_scale_decays)
    - `learn_decay`, `learn_input_decay`: s and d₁ read from h; else 0.93 and 0.89 after the first
      step, both where `learn_decay` is off (learnable_decay, learnable_inp_decay)
    - `learn_start`: first h, t, p trained, else zeros (learnable_rnn_init)
    - `attention`: the gradient is taken at a learned point ahead, θ − e^ℓ' δ_a, instead of at θ.
      Needs the `problem` that `unroll` hands to `update`; meta-gradients go through this gradient,
      with the Hessian, whatever the order of the estimator
    - `pool`: what the problem level sees of the tensors, "mean" or "last"
    - weights before training: `cell_scale` (biasgrucell_scale), `gate_bias` (gate_bias_init),
      `affine_scale` and `readout_scale` (hrnn_…), `decay_bias` (scale_decay_bias_init),
      `input_decay_bias` (hrnn_default_decay_var_init), `momentum` the logit of ρ
      (learning_rate_momentum_logit_init), `offset` b (param_stepsize_offset), `zero_lr` r = 0
      (zero_init_lr_weights)
    """

    cells: tuple[BiasGRU, ...]
    starts: tuple[Float[Array, " hidden"], ...] | None
    bias_tensor: Affine | None  # P
    bias_problem: Affine | None  # G
    bias_upper: Affine | None  # Q
    read_step: Float[Array, " hidden"]  # w
    read_ahead: Float[Array, " hidden"] | None
    read_decay: Readout | None
    read_input_decay: Readout | None
    read_lr: Readout | None  # r
    shortcut: Float[Array, " scales"] | None  # a
    lr_momentum: Scalar | None  # logit of ρ
    log_step: Scalar | None  # b
    levels: tuple[int, ...] = eqx.field(static=True)
    scales: int = eqx.field(static=True)
    lr_range: tuple[float, float] = eqx.field(static=True)
    max_log_lr: float = eqx.field(static=True)
    dynamic: bool = eqx.field(static=True)
    products: bool = eqx.field(static=True)
    log_squares: bool = eqx.field(static=True)
    relative_lr: bool = eqx.field(static=True)
    problem_mean: bool = eqx.field(static=True)
    extreme: bool = eqx.field(static=True)
    lr_shortcut: bool = eqx.field(static=True)
    gradient_shortcut: bool = eqx.field(static=True)
    decay_scales: bool = eqx.field(static=True)
    learn_decay: bool = eqx.field(static=True)
    learn_input_decay: bool = eqx.field(static=True)
    learn_start: bool = eqx.field(static=True)
    attention: bool = eqx.field(static=True)
    pool: str = eqx.field(static=True)
    cell_scale: float = eqx.field(static=True)
    gate_bias: float = eqx.field(static=True)
    affine_scale: float = eqx.field(static=True)
    readout_scale: float = eqx.field(static=True)
    decay_bias: float = eqx.field(static=True)
    input_decay_bias: float = eqx.field(static=True)
    momentum: float = eqx.field(static=True)
    offset: float = eqx.field(static=True)
    zero_lr: bool = eqx.field(static=True)

    def __init__(
        self,
        levels: Widths = (10, 20, 20),
        scales: Scales = 4,
        lr_range: tuple[float, float] = (1e-6, 1e-2),
        max_log_lr: float = 33.0,
        dynamic: bool = True,
        products: bool = True,
        log_squares: bool = True,
        relative_lr: bool = True,
        problem_mean: bool = True,
        extreme: bool = False,
        lr_shortcut: bool = False,
        gradient_shortcut: bool = True,
        decay_scales: bool = False,
        learn_decay: bool = True,
        learn_input_decay: bool = True,
        learn_start: bool = True,
        attention: bool = False,
        pool: Literal["mean", "last"] = "mean",
        cell_scale: float = 0.5,
        gate_bias: float = 2.2,
        affine_scale: float = 0.5,
        readout_scale: float = 0.5,
        decay_bias: float = 3.2,
        input_decay_bias: float = 2.2,
        momentum: float = 3.2,
        offset: float = -1.0,
        zero_lr: bool = True,
        *,
        key: Key,
    ):
        self.levels, self.scales = tuple(levels), scales
        self.lr_range = (lr_range[0], lr_range[1])
        self.max_log_lr, self.dynamic, self.products = max_log_lr, dynamic, products
        self.log_squares, self.relative_lr = log_squares, relative_lr
        self.problem_mean, self.extreme, self.lr_shortcut = problem_mean, extreme, lr_shortcut
        self.gradient_shortcut, self.decay_scales = gradient_shortcut, decay_scales
        self.learn_decay, self.learn_input_decay = learn_decay, learn_input_decay
        self.learn_start, self.attention, self.pool = learn_start, attention, pool
        self.cell_scale, self.gate_bias = cell_scale, gate_bias
        self.affine_scale, self.readout_scale = affine_scale, readout_scale
        self.decay_bias, self.input_decay_bias = decay_bias, input_decay_bias
        self.momentum, self.offset, self.zero_lr = momentum, offset, zero_lr
        known = settings.of(settings.Scale, self)  # raises where one is out of range

        k = iter(jr.split(key, 16))
        m, upper = self.levels[0], self.levels[1:]
        inputs = (known.inputs, known.seen, *upper[:1])
        self.cells = tuple(
            BiasGRU(seen, hidden, cell_scale, gate_bias, key=next(k))
            for seen, hidden in zip(inputs, self.levels, strict=False)
        )
        begin = lambda hidden: jr.uniform(next(k), (hidden,), minval=-1.0, maxval=1.0)
        self.starts = tuple(map(begin, self.levels)) if learn_start else None
        affine = lambda i, o: Affine(i, 3 * o, affine_scale, key=next(k))
        self.bias_tensor = affine(upper[0], m) if upper else None
        self.bias_problem = affine(upper[1], m) if len(upper) > 1 else None
        self.bias_upper = affine(upper[1], upper[0]) if len(upper) > 1 else None
        read = lambda scale, bias: Readout(m, scale, bias, key=next(k))
        self.read_step = read(readout_scale, 0.0).w
        self.read_ahead = self.read_step if attention else None
        self.read_decay = read(readout_scale, decay_bias) if learn_decay else None
        learns = learn_decay and learn_input_decay and scales > 1
        self.read_input_decay = read(readout_scale, input_decay_bias) if learns else None
        self.read_lr = read(0.0 if zero_lr else readout_scale, 0.0) if dynamic else None
        short = 1 / scales + 0.1 / math.sqrt(scales) * jr.normal(next(k), (scales,))
        self.shortcut = short if gradient_shortcut else None
        self.lr_momentum = jnp.asarray(momentum, jnp.result_type(float)) if dynamic else None
        self.log_step = jnp.asarray(offset, jnp.result_type(float)) if dynamic else None

    @property
    def extra_gradients(self) -> int:
        return int(self.attention)

    @property
    def inputs(self) -> int:
        """Features of a coordinate."""
        return settings.of(settings.Scale, self).inputs

    def init(self, params: Params, *, key: Key | None = None) -> ScaleState:
        params = tree.real(params, "Scale")
        layout, dtype = Layout(params), self.dtype(params)
        zeros = lambda *features: jnp.zeros((*features, *layout.shape), dtype)
        columns = (len(layout.sizes), 1)
        upper = [jnp.zeros(shape, dtype) for shape in zip(self.levels[1:], columns, strict=False)]
        t, p = [*upper, None, None][:2]
        return ScaleState(
            jnp.zeros((), jnp.int32),
            *(zeros(self.levels[0]), t, p),
            *(zeros(self.scales), zeros(self.scales), zeros(), zeros()),
            log_lr=self.first_rates(layout, dtype, key) if self.dynamic else None,
            ahead=zeros() if self.attention else None,
        )

    def first_rates(
        self, layout: Layout, dtype: jnp.dtype, key: Key | None
    ) -> Float[Array, "height columns"]:
        """ℓ before the first step: half drawn for each coordinate, half for each tensor."""
        low, high = (0.5 * math.log(lr) for lr in self.lr_range)
        if key is None:
            return jnp.zeros(layout.shape, dtype) + min(low + high, self.max_log_lr)
        key_row, key_tensor = jr.split(key)
        draw = lambda key, *shape: jr.uniform(key, shape, dtype, low, high)
        rates = draw(key_row, *layout.shape) + layout.spread(draw(key_tensor, len(layout.sizes)))
        return jnp.clip(rates, FLOOR, self.max_log_lr)

    def update(
        self,
        grads: Updates,
        state: ScaleState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, ScaleState]:
        like = grads if params is None else params
        layout, dtype = Layout(like), self.dtype(like)
        if not layout.sizes:
            count = eqx.tree_at(lambda s: s.count, state, state.count + 1)
            return jtu.tree_map(jnp.zeros_like, like), count
        if self.attention:
            if problem is None:
                raise ValueError(
                    "Scale with attention takes the gradient at a point of its own, but update was "
                    "given no problem. Run it in `unroll`, or give update(…, problem=Problem(task, "
                    "instance, batch, key))."
                )
            ahead: Any = state.ahead
            grads = problem.grad(tree.apply_updates(params, layout.unpack(ahead)))
        with jax.numpy_dtype_promotion("standard"):  # θ may be narrower than the state
            u, after = self.advance(layout.pack(grads, dtype), state, layout)
        return layout.unpack(u), tree.cast_like(after, state)

    def advance(
        self, g: Float[Array, "height columns"], state: ScaleState, layout: Layout
    ) -> tuple[Float[Array, "height columns"], ScaleState]:
        """One step on packed gradients: updates to be added, and the state after it."""
        state = self.started(state)
        averages, squares = self.moments(g, state)  # A_k, M_k
        scaled = jnp.arcsinh(averages / jnp.sqrt(squares + EPS))  # ĝ_k
        t: Any = state.t  # where there is a level, there is its state
        p: Any = state.p
        log_lr: Any = state.log_lr
        x = self.features(scaled, squares, log_lr, layout)

        beta: Any = None if self.bias_tensor is None else self.bias_tensor(t)
        if self.bias_problem is not None:
            beta = beta + self.bias_problem(p)
        h = self.cells[0](x, state.h, None if beta is None else layout.spread(beta))

        if len(self.levels) > 1:
            means = [layout.means(h)] + ([layout.means(x)] if self.inputs > self.scales else [])
            beta = None if self.bias_upper is None else self.bias_upper(p)
            t = self.cells[1](jnp.concatenate(means), t, beta)
        if len(self.levels) > 2:
            pooled = t[:, -1:] if self.pool == "last" else t.mean(1, keepdims=True)
            p = self.cells[2](pooled, p, None)

        step, ahead, decay, input_decay, change = self.read(h)
        short = 0.0 if self.shortcut is None else jnp.einsum("k,krc->rc", self.shortcut, scaled)
        update, lead = self.direction(step + short, layout), 0.0
        if self.lr_momentum is not None and self.log_step is not None:  # dynamic
            lead = clip(log_lr + change, FLOOR, self.max_log_lr)  # ℓ'
            rho = jax.nn.sigmoid(self.lr_momentum.astype(log_lr.dtype))
            log_lr = rho * log_lr + (1 - rho) * lead
            update = jnp.exp(lead + self.log_step) * update
        if self.attention:
            ahead = update - jnp.exp(lead) * self.direction(ahead + short, layout)
        after = (averages, squares, input_decay, decay, log_lr, ahead)
        return -update, ScaleState(state.count + 1, h, t, p, *after)

    def started(self, state: ScaleState) -> ScaleState:
        """The state, with the trained vectors in place at the first step."""
        if self.starts is None:
            return state
        first = state.count == 0
        where = lambda s: [s.h, s.t, s.p][: len(self.levels)]
        new = [
            jnp.where(first, over(start, now), now)
            for start, now in zip(self.starts, where(state), strict=True)
        ]
        return eqx.tree_at(where, state, new)

    def moments(self, g: Float[Array, "height columns"], state: ScaleState) -> tuple[Array, Array]:
        """(A, M), (scales, height, columns) each. All decays are 0 at the first step."""
        A = g[None]
        if self.scales > 1:
            d = roots(state.input_decay, self.scales)
            A = d * state.averages + (1 - d) * A
        s = roots(state.decay, self.scales) if self.decay_scales else state.decay[None]
        return A, s * state.squares + (1 - s) * (A**2 + SQUARE)

    def features(
        self, scaled: Array, squares: Array, log_lr: Any, layout: Layout
    ) -> Float[Array, "inputs height columns"]:
        parts = [scaled]
        if self.products:
            parts.append(scaled[:-1] * scaled[1:])
        if self.log_squares:
            logs = jnp.log(squares + EPS)
            parts.append(logs - logs.mean(0, keepdims=True))
        if self.relative_lr:
            sums = layout.sums(log_lr)  # (tensors,)
            sizes = jnp.asarray(layout.sizes, sums.dtype)
            mean = sums.sum() / sizes.sum() if self.problem_mean else layout.spread(sums / sizes)
            parts.append((log_lr - mean)[None])
        if self.extreme:
            low, high = EXTREMES
            parts.append((jax.nn.relu(log_lr - high) - jax.nn.relu(low - log_lr))[None])
        if self.lr_shortcut:
            parts.append((log_lr - USUAL)[None])
        return jnp.concatenate(parts)

    def read(self, h: Float[Array, "hidden height columns"]) -> list[Any]:
        """w·h, w_a·h, s, d₁, r·h: what is read from the hidden state, in one product."""
        heads = [self.read_decay, self.read_input_decay, self.read_lr]
        columns = [self.read_step, self.read_ahead, *(head and head.w for head in heads)]
        biases = [None, None, *(head and head.b for head in heads)]
        rows = iter(weights(jnp.stack([w for w in columns if w is not None], 1), h))
        out: list[Any] = [None if w is None else next(rows) for w in columns]
        out = [y if b is None else y + b for y, b in zip(out, biases, strict=True)]
        for at, constant in ((2, DECAYS[0]), (3, DECAYS[1])):
            out[at] = jnp.zeros_like(h[0]) + constant if out[at] is None else sigmoid(out[at])
        return out

    def direction(self, delta: Array, layout: Layout) -> Float[Array, "height columns"]:
        """δ, with `dynamic` over its root mean square over the tensor."""
        if not self.dynamic:
            return delta
        return delta / layout.spread(jnp.sqrt(layout.means(delta**2) + EPS))

    def dtype(self, params: Params) -> jnp.dtype:
        """The dtype of θ, or that of a wider parameter; float32 at least."""
        theta, _ = split_meta(self)
        return tree.working_dtype((theta, params))
