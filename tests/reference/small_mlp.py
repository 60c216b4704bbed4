"""The small MLP on one tensor, in NumPy."""

import numpy as np

from tests.reference.lstm import logistic

EPS = 1e-24


def steps(w, hyper, grads, theta):
    """θ after every step, (steps, *shape), for gradients that are neither 0 nor huge.

    - `w`: weights by their names in a file
    - `hyper`: settings by name
    """
    linear = lambda name, x: x @ w[f".{name}.w"] + w[f".{name}.b"]
    rms = lambda x: np.sqrt(np.mean(x**2) + EPS)
    betas, beta = hyper["betas"], hyper["beta"]
    m, v, out = [0.0] * len(betas), 0.0, []
    theta = np.array(theta, float)
    for t, g in enumerate(grads):
        m = [b * old + (1 - b) * g for b, old in zip(betas, m, strict=True)]
        v = beta * v + (1 - beta) * g**2
        m_hat = [x / (1 - b ** (t + 1)) for b, x in zip(betas, m, strict=True)]
        v_hat = v / (1 - beta ** (t + 1))
        plain = [g, *m_hat]
        x = [*plain, *(p / np.sqrt(v_hat + EPS) for p in plain), theta]
        sizes = [rms(f) for f in x]
        x = np.stack([f / s for f, s in zip(x, sizes, strict=True)], -1)
        z = [np.tanh(t / tau - 1) for tau in hyper["time_scales"]]
        z += [np.mean(x[..., 0] * x[..., k]) for k in range(1, 1 + len(betas))]
        usual = np.sqrt(np.mean(v_hat) + EPS)
        z += [0.1 * np.log(sizes[0] / usual), 0.1 * np.log(sizes[-1]), 0.1 * np.log(g.size)]
        h = np.maximum(linear("first", x) + z @ w[".of_tensor"], 0)
        h = np.maximum(linear("second", h), 0)
        d = x @ w[".shortcut"] + linear("head", h)[..., 0]
        rate = np.exp(3 * np.tanh(linear("read_rate", np.array(z))[0] / 3))
        u = -hyper["scale"] * rate * d / rms(d)
        if hyper["weight_decay"]:
            share = hyper["weight_decay"] * logistic(linear("read_decay", np.array(z))[0])
            u = u - share * theta
        theta = theta + u
        out.append(theta)
    return np.stack(out)
