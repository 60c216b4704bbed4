"""The small MLP in PyTorch; equations and sources: `steppe.optimizers.learned.small_mlp`.

    for every block of coordinates      m, v; from x: Σ x², Σ g m̂_k, Σ v̂
    for every tensor                    rms x, z
    for every block of coordinates      d = a·x + MLP(x, z), each of x over its rms; Σ d²
    for every tensor                    ℓ, λ, u = −scale · e^(3 tanh(ℓ/3)) · d/rms(d) − λ θ

x is made twice and kept nowhere, and d takes the place of g: besides the state and u, a step needs
the memory of a few blocks. Time is that of the tensor, which may come later than others.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .rules import AbstractRule, State, check_params, check_sizes, pieces

EPS, LIMIT, LOGS, RANGE = 1e-24, 1e15, 0.1, 3.0  # as in JAX


class SmallMLPRule(AbstractRule):
    """An MLP of two layers of a few units, in the manner of Metz et al. 2022."""

    needs_params = True

    def __init__(self, weights: Mapping[str, Tensor], hyper: Mapping):
        self.weights = weights
        self.betas, self.beta = hyper["betas"], hyper["beta"]
        self.time_scales, self.scale = hyper["time_scales"], hyper["scale"]
        self.weight_decay = hyper["weight_decay"]
        self.rows = {"m": len(self.betas), "v": 1}

    def update(
        self,
        g: Tensor,
        state: State,
        sizes: Sequence[int],
        counts: Sequence[int],
        block: int,
        params: Tensor | None = None,
    ) -> Tensor:
        check_sizes(g, sizes)
        theta, g = check_params(params, len(g)), g.clamp_(-LIMIT, LIMIT)
        n = g.new_tensor(sizes).clamp_(min=1)  # so that means over an empty tensor are 0
        unbias = [[1 / (1 - beta**t) for t in counts] for beta in (*self.betas, self.beta)]
        unbias = g.new_tensor(unbias)  # (m̂_k / m_k and v̂ / v, tensors)
        k, seen = len(self.betas), len(self.weights[".shortcut"])

        sums = g.new_zeros(seen + k + 1, len(sizes))
        for piece in pieces(sizes, block, g):
            at = piece.at
            self.average(g[at], state["m"][:, at], state["v"][:, at])
            x, v_hat = features(g[at], state, theta, at, piece.spread(unbias))
            products = torch.cat([x * x, x[0] * x[1 : 1 + k], v_hat])
            sums[:, piece.tensors] += piece.sums(products)
        square, along, usual = (sums / n).split([seen, k, 1])
        inverse = (square + EPS).rsqrt()  # 1/rms
        z = self.about(along * inverse[:1] * inverse[1 : 1 + k], usual, square, counts, n)

        bias = self.weights[".first.b"][:, None] + self.weights[".of_tensor"].T @ z
        squares = g.new_zeros(1, len(sizes))
        for piece in pieces(sizes, block, g):
            at = piece.at
            x, _ = features(g[at], state, theta, at, piece.spread(unbias))
            d = self.direction(x.mul_(piece.spread(inverse)), piece.spread(bias))
            squares[:, piece.tensors] += piece.sums(d * d)
            g[at] = d[0]

        rate = torch.exp(RANGE * torch.tanh(self.linear("read_rate", z) / RANGE))
        moved = square[k] / (square[k] + EPS)  # 0 without gradients
        factors = -self.scale * rate[0] * moved / (squares[0] / n + EPS).sqrt()
        of_tensors = g.split(list(sizes))
        for u, factor in zip(of_tensors, factors, strict=True):
            u.mul_(factor)
        if self.weight_decay:
            shares = self.weight_decay * self.linear("read_decay", z)[0].sigmoid()
            for u, p, share in zip(of_tensors, theta.split(list(sizes)), shares, strict=True):
                u.addcmul_(p, share, value=-1)
        return g

    def average(self, g: Tensor, m: Tensor, v: Tensor) -> None:
        """Bring m (betas, rows) and v (1, rows), of any dtype, up to the gradients g (rows,)."""
        new_m, new_v = m.to(g.dtype), v.to(g.dtype)
        for row, beta in zip(new_m, self.betas, strict=True):
            row.lerp_(g, 1 - beta)
        new_v.mul_(self.beta).addcmul_(g, g, value=1 - self.beta)
        if m.dtype != g.dtype:
            m.copy_(new_m)
            v.copy_(new_v)

    def about(
        self, aligned: Tensor, usual: Tensor, square: Tensor, counts: Sequence[int], n: Tensor
    ) -> Tensor:
        """z (features, tensors).

        - `aligned`: cos(g, m̂_k), (betas, tensors)
        - `usual`: mean of v̂, (1, tensors)
        - `square`: mean squares of the features of coordinates, (features, tensors)
        - `counts`, `n`: number of the step, from 1, and of coordinates, one a tensor
        """
        log = lambda square: 0.5 * (square + EPS).log()
        time = [[math.tanh((t - 1) / tau - 1) for t in counts] for tau in self.time_scales]
        logs = [log(square[:1]) - log(usual), log(square[-1:]), n.log()[None]]
        return torch.cat([n.new_tensor(time).reshape(-1, len(n)), aligned, LOGS * torch.cat(logs)])

    def direction(self, x: Tensor, bias: Tensor) -> Tensor:
        """d (1, rows) from features over their size, (features, rows).

        - `bias`: of the first layer, (hidden, rows or 1)
        """
        h = torch.addmm(bias, self.weights[".first.w"].T, x).relu_()
        h = self.linear("second", h).relu_()
        return self.linear("head", h).addmm_(self.weights[".shortcut"][None], x)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return torch.addmm(self.weights[f".{name}.b"][:, None], self.weights[f".{name}.w"].T, x)


def features(
    g: Tensor, state: State, theta: Tensor, at: slice, unbias: Tensor
) -> tuple[Tensor, Tensor]:
    """x = [g, m̂_k, g/√v̂, m̂_k/√v̂, θ], (features, rows), and v̂, (1, rows), of a block.

    - `g`: its gradients, (rows,)
    - `at`: its place in the state and in θ
    - `unbias`: m̂_k / m_k and v̂ / v, (betas + 1, rows or 1)
    """
    m, v = (state[name][:, at].to(g.dtype) for name in "mv")
    x = g.new_empty(2 * (1 + len(m)) + 1, len(g))
    plain, scaled = x[: 1 + len(m)], x[1 + len(m) : -1]
    plain[0] = g
    torch.mul(m, unbias[:-1], out=plain[1:])
    v_hat = v * unbias[-1:]
    torch.mul(plain, (v_hat + EPS).rsqrt_(), out=scaled)
    torch.clamp(theta[at], -LIMIT, LIMIT, out=x[-1])
    return x, v_hat
