"""DM and RNNProp as one would write them: tensor by tensor, (coordinates, features).

What `deployed.py` compares the library with.
"""

import math


def in_jax(opt):
    """DM or RNNProp as one would write it: tree_map, (coordinates, features)."""
    import jax
    import jax.numpy as jnp
    import optax

    layers, head = opt.lstm.layers, opt.head

    def cell(layer, x, h, c):
        z = jnp.concatenate([x, h], 1) @ layer.w_gates + layer.b_gates
        i, j, f, o = jnp.split(z, 4, axis=1)
        c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(j)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    def one(g, state, count):
        flat = g.reshape(-1, 1)
        m, v, states = state
        if hasattr(opt, "beta1"):
            m = opt.beta1 * m + (1 - opt.beta1) * flat
            v = opt.beta2 * v + (1 - opt.beta2) * flat**2
            root = jnp.sqrt(v / (1 - opt.beta2**count)) + 1e-8
            x = jnp.concatenate([m / (1 - opt.beta1**count) / root, flat / root], 1)
            x = jax.nn.elu(x @ opt.inputs.w + opt.inputs.b)
        else:
            size = jnp.clip(jnp.log(jnp.abs(flat) + 1.1920929e-07) / opt.p, -1.0)
            x = jnp.concatenate([size, jnp.clip(flat * math.exp(opt.p), -1, 1)], 1)
        after = []
        for layer, (h, c) in zip(layers, states, strict=True):
            h, c = cell(layer, x, h, c)
            x = h
            after.append((h, c))
        u = x @ head.w + head.b
        u = jnp.tanh(u) if hasattr(opt, "beta1") else u
        return (opt.scale * u).reshape(g.shape), (m, v, after)

    def init(params):
        zeros = lambda p, width: jnp.zeros((p.size, width))
        state = lambda p: (
            zeros(p, 1),
            zeros(p, 1),
            [(zeros(p, w), zeros(p, w)) for w in opt.hidden],
        )
        return 0, [state(p) for p in params]

    def update(updates, state, params=None):
        count, states = state
        found = [one(g, s, count + 1) for g, s in zip(updates, states, strict=True)]
        return [u for u, _ in found], (count + 1, [s for _, s in found])

    return optax.GradientTransformation(init, update)


def in_torch(params, rule):
    """DM or RNNProp as one would write it: a loop over the parameters, `torch.nn.LSTMCell`."""
    import torch

    w, adamlike = rule.weights, hasattr(rule, "beta1")
    cells = []
    for k in range(len(rule.hidden)):
        gates, bias = (w[f".lstm.layers[{k}].{x}_gates"] for x in "wb")
        i, j, f, o = gates.chunk(4, 1)
        bi, bj, bf, bo = bias.chunk(4)
        hidden = i.shape[1]
        cell = torch.nn.LSTMCell(len(gates) - hidden, hidden)
        whole = torch.cat([i, f, j, o], 1)
        with torch.no_grad():
            cell.weight_ih.copy_(whole[:-hidden].T)
            cell.weight_hh.copy_(whole[-hidden:].T)
            cell.bias_ih.copy_(torch.cat([bi, bf + 1, bj, bo]))
            cell.bias_hh.zero_()
        cells.append(cell)

    class PerTensor(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self, closure=None):  # pyright: ignore[reportIncompatibleMethodOverride]
            for group in self.param_groups:
                for p in group["params"]:
                    self.one(p, self.state[p])

        def one(self, p, state):
            g = p.grad.reshape(-1, 1)
            if not state:
                state["step"] = 0
                state["m"], state["v"] = torch.zeros_like(g), torch.zeros_like(g)
                wide = lambda cell: g.new_zeros(len(g), cell.hidden_size)
                state["lstm"] = [(wide(cell), wide(cell)) for cell in cells]
            state["step"] += 1
            if adamlike:
                state["m"] = rule.beta1 * state["m"] + (1 - rule.beta1) * g
                state["v"] = rule.beta2 * state["v"] + (1 - rule.beta2) * g**2
                root = (state["v"] / (1 - rule.beta2 ** state["step"])).sqrt() + 1e-8
                m = state["m"] / (1 - rule.beta1 ** state["step"])
                x = torch.cat([m / root, g / root], 1)
                x = torch.nn.functional.elu(x @ w[".inputs.w"] + w[".inputs.b"])
            else:
                size = ((g.abs() + 1.1920929e-07).log() / rule.p).clamp(min=-1.0)
                x = torch.cat([size, (g * math.exp(rule.p)).clamp(-1.0, 1.0)], 1)
            for k, cell in enumerate(cells):
                state["lstm"][k] = cell(x, state["lstm"][k])
                x = state["lstm"][k][0]
            u = x @ w[".head.w"] + w[".head.b"]
            p.add_((rule.scale * (u.tanh() if adamlike else u)).view_as(p))

    return PerTensor(params, {})
