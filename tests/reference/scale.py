"""The hierarchical RNN of L2O-Scale in NumPy: one tensor after the other, float64, rows first.

Written from flatness-l2o.md §3.1 and §3.2, independently of `steppe`. Weights are a dictionary
under the published names, without their common beginnings:

    {0,1,2}/{gates,candidate}/{w,b}, {0,1,2}/start, param, global, global1 (each /w and /b),
    short, momentum, offset, and the readouts update, attend, decay, inp_decay, lr (/w, /b)
"""

import numpy as np

FLAGS = {
    "levels": 3,
    "scales": 4,
    "products": True,
    "log_squares": True,
    "relative_lr": True,
    "problem_mean": True,
    "extreme": False,
    "lr_shortcut": False,
    "gradient_shortcut": True,
    "decay_scales": False,
    "dynamic": True,
    "attention": False,
    "max_log_lr": 33.0,
    "last": False,  # the published defect: the global level sees the last tensor only
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(w, name, x, h, beta):
    m = h.shape[1]
    z = np.concatenate([x, h], 1) @ w[f"{name}/gates/w"] + w[f"{name}/gates/b"]
    r, u = sigmoid(z[:, :m] + beta[:, :m]), sigmoid(z[:, m:] + beta[:, m : 2 * m])
    c = np.concatenate([x, r * h], 1) @ w[f"{name}/candidate/w"] + w[f"{name}/candidate/b"]
    return u * h + (1 - u) * np.tanh(c + beta[:, 2 * m :])


def affine(w, name, x):
    return x @ w[f"{name}/w"] + w[f"{name}/b"]


def start(w, shapes, log_lr, **flags):
    """The state before the first step; `log_lr` is one array per tensor."""
    S = {**FLAGS, **flags}["scales"]
    tensors = []
    for shape, ell in zip(shapes, log_lr, strict=True):
        n = int(np.prod(shape))
        column = lambda n=n: np.zeros((n, 1))
        tensors.append(
            {
                "h0": np.repeat(w["0/start"][None], n, 0),
                "h1": w["1/start"][None] if "1/start" in w else None,
                "decay": column(),
                "inp_decay": column(),
                "log_lr": np.reshape(ell, (n, 1)) * 1.0,
                "A": [column() for _ in range(S)],
                "M": [column() for _ in range(S)],
            }
        )
    return {"tensors": tensors, "h2": w["2/start"][None] if "2/start" in w else None}


def step(w, gradients, state, **flags):
    """The updates to be added, the distances from the new to the attended point, the state."""
    f = {**FLAGS, **flags}
    every = np.concatenate([t["log_lr"] for t in state["tensors"]])
    h2, done, updates, ahead = state["h2"], [], [], []
    for g, t in zip(gradients, state["tensors"], strict=True):
        u, a, new = one_tensor(w, g.reshape(-1, 1), t, h2, every.mean(), f)
        updates.append(u.reshape(g.shape))
        ahead.append(a.reshape(g.shape))
        done.append(new)
    if f["levels"] > 2:
        h1 = [t["h1"] for t in done]
        x = h1[-1] if f["last"] else np.mean(h1, axis=0)
        h2 = gru(w, "2", x, h2, np.zeros((1, 3 * h2.shape[1])))
    return updates, ahead, {"tensors": done, "h2": h2}


def one_tensor(w, g, t, h2, problem_mean, f):
    S, ell = f["scales"], t["log_lr"]
    d, A = t["inp_decay"], []
    for k in range(S):
        A.append((1 - d) * g + d * t["A"][k] if S > 1 else g)
        d = np.sqrt(d)
    s, M = t["decay"], []
    for k in range(S):
        keep = np.zeros_like(s) if not t["M"][k].any() else s
        M.append((1 - keep) * (A[k] ** 2 + 1e-12) + keep * t["M"][k])
        s = np.sqrt(s) if f["decay_scales"] else s
    scaled = [np.arcsinh(A[k] / np.sqrt(M[k] + 1e-16)) for k in range(S)]

    more = []
    if f["products"]:
        more += [scaled[k] * scaled[k + 1] for k in range(S - 1)]
    if f["log_squares"]:
        logs = [np.log(m + 1e-16) for m in M]
        more += [x - np.mean(logs, axis=0) for x in logs]
    if f["relative_lr"]:
        more += [ell - (problem_mean if f["problem_mean"] else ell.mean())]
    if f["extreme"]:
        more += [np.maximum(ell - np.log(1.0), 0) - np.maximum(np.log(1e-6) - ell, 0)]
    if f["lr_shortcut"]:
        more += [ell - np.log(1e-3)]
    x = np.concatenate([*scaled, *more], 1)

    beta = np.zeros((1, 3 * t["h0"].shape[1]))
    if f["levels"] > 1:
        beta = beta + affine(w, "param", t["h1"])
    if f["levels"] > 2:
        beta = beta + affine(w, "global", h2)
    h0 = gru(w, "0", x, t["h0"], beta)

    h1 = t["h1"]
    if f["levels"] > 1:
        x1 = np.concatenate([h0, x], 1) if more else h0
        beta = affine(w, "global1", h2) if f["levels"] > 2 else np.zeros((1, 3 * h1.shape[1]))
        h1 = gru(w, "1", x1.mean(0, keepdims=True), h1, beta)

    def direction(name):
        delta = h0 @ w[f"{name}/w"]
        if f["gradient_shortcut"]:
            delta = delta + np.concatenate(scaled, 1) @ w["short"]
        return delta / np.sqrt(np.mean(delta**2) + 1e-16) if f["dynamic"] else delta

    size, ahead_size, new_ell = 1.0, 1.0, ell
    if f["dynamic"]:
        proposed = np.clip(ell + affine(w, "lr", h0), -33, f["max_log_lr"])
        rho = sigmoid(w["momentum"])
        new_ell = rho * ell + (1 - rho) * proposed
        size, ahead_size = np.exp(proposed + w["offset"]), np.exp(proposed)
    update = -size * direction("update")
    ahead = -ahead_size * direction("attend") - update if f["attention"] else 0 * update
    new = {
        "h0": h0,
        "h1": h1,
        "decay": sigmoid(affine(w, "decay", h0)),
        "inp_decay": sigmoid(affine(w, "inp_decay", h0)),
        "log_lr": new_ell,
        "A": A,
        "M": M,
    }
    return update, ahead, new
