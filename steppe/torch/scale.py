"""L2O-Scale in PyTorch; equations and sources: `steppe.optimizers.learned.scale`.

    for every block of coordinates          A, M, ĝ, x; h; from h: δ, d₁, s, ℓ'; Σ [h, x], Σ δ²
    for every tensor, then once             t, p
    for every block of coordinates          u = −e^(ℓ'+b) δ / rms δ

A tensor's sums go over its blocks, so that a step needs, besides the state, one block and two
floats a coordinate. Tensors stand side by side: a block meets few of them, and sums over each
are one small product with the matrix [tensor owns coordinate].
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..store.manifest import CheckpointError
from .rules import AbstractRule, State, check_sizes, pieces

SQUARE, EPS, FLOOR = 1e-12, 1e-16, -33.0  # as in JAX
EXTREMES = math.log(1e-6), math.log(1.0)
USUAL = math.log(1e-3)
DECAYS = 0.93, 0.89


class ScaleRule(AbstractRule):
    """Wichrowska et al. 2017. All its options but `attention`, which asks for further gradients."""

    def __init__(self, weights: Mapping[str, Tensor], hyper: Mapping):
        self.weights = weights
        if hyper["attention"]:
            raise CheckpointError(
                "This L2O-Scale looks at gradients of its own choosing (attention=True), which "
                "torch.optim does not offer; run it in JAX, or train one with attention=False."
            )
        self.hyper = dict(hyper)
        self.levels, self.scales = tuple(hyper["levels"]), hyper["scales"]
        low, high = hyper["lr_range"]
        first = min(0.5 * math.log(low) + 0.5 * math.log(high), hyper["max_log_lr"])
        own = {"h": self.levels[0], "averages": self.scales, "squares": self.scales}
        own |= {"input_decay": 1, "decay": 1} | ({"log_lr": 1} if hyper["dynamic"] else {})
        self.rows = own
        self.tensors = {"t": self.levels[1]} if len(self.levels) > 1 else {}
        self.problem = {"p": self.levels[2]} if len(self.levels) > 2 else {}
        self.first = {"log_lr": max(first, FLOOR)} if hyper["dynamic"] else {}
        if hyper["learn_start"]:
            own = zip(("h", "t", "p"), range(len(self.levels)), strict=False)
            self.first |= {name: weights[f".starts[{k}]"] for name, k in own}

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
        upper = {k: s.to(g.dtype) for k, s in state.items() if k in ("t", "p")}
        beta, mean_lr = self._from_above(upper), self._mean_rates(state, sizes, g.dtype)
        seen = self.levels[0] + (self.inputs if self.inputs > self.scales else 0)
        sums = g.new_zeros(seen, len(sizes))  # of [h, x] over each tensor
        squares = g.new_zeros(1, len(sizes))  # of δ
        u, leads = g, []  # each block of u takes the place of the gradients it has read
        for piece in pieces(sizes, block, g):
            at, over = piece.at, piece.tensors
            part = {name: s[:, at].to(g.dtype) for name, s in state.items() if name in self.rows}
            hx, u[at], ahead = self._advance(
                g[at],
                part,
                None if beta is None else piece.spread(beta),
                None if mean_lr is None else piece.spread(mean_lr),
            )
            if ahead is not None:
                leads.append(ahead)
                squares[:, over] += piece.sums(u[None, at] ** 2)
            sums[:, over] += piece.sums(hx[:seen])
            for name in self.rows:
                if state[name].dtype != g.dtype:
                    state[name][:, at] = part[name]
        size = torch.tensor(sizes, dtype=g.dtype, device=g.device)
        self._climb(upper, sums, size)
        for name, value in upper.items():
            state[name].copy_(value)
        if not self.hyper["dynamic"]:
            return u.neg_()
        rms = (squares / size + EPS).sqrt()
        step = self.weights[".log_step"]
        for ahead, piece in zip(leads, pieces(sizes, block, g), strict=True):
            u[piece.at] *= -torch.exp(ahead + step) / piece.spread(rms)[0]
        return u

    @property
    def inputs(self) -> int:
        """Features of a coordinate."""
        how = self.hyper
        count = self.scales * (1 + how["log_squares"]) + (self.scales - 1) * how["products"]
        return count + how["relative_lr"] + how["extreme"] + how["lr_shortcut"]

    def _from_above(self, upper: State) -> Tensor | None:
        """β of the coordinates' gates, (3·hidden, tensors)."""
        if "t" not in upper:
            return None
        beta = self._affine("bias_tensor", upper["t"])
        return beta + self._affine("bias_problem", upper["p"]) if "p" in upper else beta

    def _affine(self, name: str, x: Tensor) -> Tensor:
        return self.weights[f".{name}.b"][:, None] + self.weights[f".{name}.w"].T @ x

    def _mean_rates(self, state: State, sizes: Sequence[int], dtype: torch.dtype) -> Tensor | None:
        """The mean of ℓ over the problem or over each tensor, (1, tensors)."""
        if not self.hyper["relative_lr"]:
            return None
        sums = torch.stack([x.sum(dtype=dtype) for x in state["log_lr"][0].split(list(sizes))])
        size = torch.tensor(sizes, dtype=dtype, device=sums.device)
        mean = (
            (sums.sum() / size.sum()).expand(len(sizes))
            if self.hyper["problem_mean"]
            else sums / size
        )
        return mean[None]

    def _advance(
        self, g: Tensor, state: State, beta: Tensor | None, mean_lr: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """[h, x], the direction δ before it is normed, and ℓ', of one block."""
        how, w = self.hyper, self.weights
        averages, squares = state["averages"], state["squares"]
        if self.scales > 1:
            d = roots(state["input_decay"], self.scales)
            averages.mul_(d).add_((1 - d) * g)
        else:
            averages.copy_(g[None])
        s = roots(state["decay"], self.scales) if how["decay_scales"] else state["decay"]
        squares.mul_(s).add_((1 - s) * (averages**2 + SQUARE))
        scaled = asinh(averages / (squares + EPS).sqrt())
        x = self._features(scaled, squares, state.get("log_lr"), mean_lr)
        h = gru(w, 0, x, state["h"], beta)
        state["h"].copy_(h)

        delta = w[".read_step"] @ h
        if how["gradient_shortcut"]:
            delta = delta + w[".shortcut"] @ scaled
        for name, constant in (("decay", DECAYS[0]), ("input_decay", DECAYS[1])):
            read = f".read_{name}"
            if f"{read}.w" in w:
                state[name][0] = (w[f"{read}.w"] @ h + w[f"{read}.b"]).sigmoid_()
            else:
                state[name].fill_(constant)
        ahead = None
        if how["dynamic"]:
            log_lr = state["log_lr"][0]
            ahead = (log_lr + w[".read_lr.w"] @ h + w[".read_lr.b"]).clamp(FLOOR, how["max_log_lr"])
            rho = w[".lr_momentum"].sigmoid()
            log_lr.mul_(rho).add_((1 - rho) * ahead)
        return torch.cat([h, x]), delta, ahead

    def _features(
        self, scaled: Tensor, squares: Tensor, log_lr: Tensor | None, mean_lr: Tensor | None
    ) -> Tensor:
        parts = [scaled]
        if self.hyper["products"]:
            parts.append(scaled[:-1] * scaled[1:])
        if self.hyper["log_squares"]:
            logs = (squares + EPS).log()
            parts.append(logs - logs.mean(0, keepdim=True))
        if log_lr is not None and mean_lr is not None:
            parts.append(log_lr - mean_lr)
        if log_lr is not None and self.hyper["extreme"]:
            low, high = EXTREMES
            parts.append((log_lr - high).relu() - (low - log_lr).relu())
        if log_lr is not None and self.hyper["lr_shortcut"]:
            parts.append(log_lr - USUAL)
        return torch.cat(parts)

    def _climb(self, upper: State, sums: Tensor, sizes: Tensor) -> None:
        """t and p after the step, from the sums of [h, x] over each tensor."""
        if "t" not in upper:
            return
        p = upper.get("p")
        beta = None if p is None else self._affine("bias_upper", p)
        upper["t"] = gru(self.weights, 1, sums / sizes, upper["t"], beta)
        if p is not None:
            t = upper["t"]
            pooled = t[:, -1:] if self.hyper["pool"] == "last" else t.mean(1, keepdim=True)
            upper["p"] = gru(self.weights, 2, pooled, p, None)


def gru(w: Mapping[str, Tensor], level: int, x: Tensor, h: Tensor, beta: Tensor | None) -> Tensor:
    """A GRU whose three blocks take a bias from above; u is the gate that keeps."""
    gates, candidate = (w[f".cells[{level}].w_{name}"] for name in ("gates", "candidate"))
    biases = torch.cat([w[f".cells[{level}].b_{name}"] for name in ("gates", "candidate")])
    q, m = len(x), len(h)
    z = torch.addmm(biases[:, None], torch.cat([gates[:q], candidate[:q]], 1).T, x)
    if beta is not None:
        z += beta
    r, u = z[: 2 * m].addmm_(gates[q:].T, h).sigmoid_().chunk(2)
    c = z[2 * m :].addmm_(candidate[q:].T, r * h).tanh_()
    return c + u * (h - c)


def asinh(x: Tensor) -> Tensor:
    """asinh in a quarter of the time of torch's, for x² that does not overflow."""
    size = x.abs()
    square = size * size
    return size.add_(square.div_((square + 1.0).sqrt_().add_(1.0))).log1p_().copysign_(x)


def roots(x: Tensor, count: int) -> Tensor:
    """x, √x, √√x, … for x (1, rows)."""
    out = [x]
    for _ in range(count - 1):
        out.append(out[-1].sqrt())
    return torch.cat(out)
