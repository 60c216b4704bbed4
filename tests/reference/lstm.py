"""L2O-DM and RNNProp in NumPy: one coordinate at a time, column by column as in the published
code, float64. Written from flatness-l2o.md §1 and §2, independently of `steppe`.

Weights are a dictionary under the published names ("lstm_1/w_gates", …).
"""

import numpy as np

EPSILON = 1.1920929e-07
SHAPES = {
    "dm": {
        "lstm_1/w_gates": (22, 80),
        "lstm_1/b_gates": (80,),
        "lstm_2/w_gates": (40, 80),
        "lstm_2/b_gates": (80,),
        "linear/w": (20, 1),
        "linear/b": (1,),
    }
}
SHAPES["rnnprop"] = {
    "input_projection/w": (2, 20),
    "input_projection/b": (20,),
    **SHAPES["dm"],
    "lstm_1/w_gates": (40, 80),
}


def random_weights(kind: str, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in SHAPES[kind].items()
    }


def dm(weights, gradients, *, p=5.0, scale=0.01):
    """Updates (steps, n) for gradients (steps, n)."""
    features = lambda g, memory, tau: [
        max(np.log(abs(g) + EPSILON) / p, -1.0),
        min(max(g * np.exp(p), -1.0), 1.0),
    ]
    head = lambda y: scale * y
    return np.stack([run(weights, column, features, head) for column in gradients.T], axis=1)


def rnnprop(weights, gradients, *, beta=0.95, scale=0.01):
    """Updates (steps, n) for gradients (steps, n)."""

    def features(g, memory, tau):
        memory["m"] = beta * memory.get("m", 0.0) + (1 - beta) * g
        memory["v"] = beta * memory.get("v", 0.0) + (1 - beta) * g * g
        m_hat = memory["m"] / (1 - beta**tau)
        root = np.sqrt(memory["v"] / (1 - beta**tau)) + 1e-8
        x = np.array([m_hat / root, g / root]) @ weights["input_projection/w"]
        x = x + weights["input_projection/b"]
        return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)

    head = lambda y: scale * np.tanh(y)
    return np.stack([run(weights, column, features, head) for column in gradients.T], axis=1)


def run(weights, gradients, features, head):
    """The updates of one coordinate, from a state of zeros."""
    weights = {name: w.astype(np.float64) for name, w in weights.items()}
    states, memory, updates = {1: (0.0, 0.0), 2: (0.0, 0.0)}, {}, []
    for t, g in enumerate(gradients):
        x = np.asarray(features(g, memory, t + 1))
        for layer in (1, 2):
            h, c = (np.zeros(20) + part for part in states[layer])
            z = np.concatenate([x, h]) @ weights[f"lstm_{layer}/w_gates"]
            z = z + weights[f"lstm_{layer}/b_gates"]
            i, j, f, o = z[:20], z[20:40], z[40:60], z[60:]
            c = logistic(f + 1) * c + logistic(i) * np.tanh(j)
            x = logistic(o) * np.tanh(c)
            states[layer] = (x, c)
        updates.append(head((x @ weights["linear/w"] + weights["linear/b"])[0]))
    return np.array(updates)


def logistic(x):
    return 1 / (1 + np.exp(-x))
