"""The layers of networks by slow loops, in NumPy."""

import numpy as np


def slow_convolve(x, w, stride, padding):
    rows, h, width, _ = x.shape
    k, _, _, outputs = w.shape
    if padding == "SAME":  # as few zeros as make ⌈side / stride⌉ places, the odd one at the end
        pads = [(0, 0)]
        for side in (h, width):
            missing = max((-(-side // stride) - 1) * stride + k - side, 0)
            pads.append((missing // 2, missing - missing // 2))
        x = np.pad(x, [*pads, (0, 0)])
    h2, w2 = ((side - k) // stride + 1 for side in x.shape[1:3])
    out = np.zeros((rows, h2, w2, outputs))
    for r, i, j, o in np.ndindex(out.shape):
        patch = x[r, i * stride : i * stride + k, j * stride : j * stride + k]  # (k, k, inputs)
        out[r, i, j, o] = (patch * w[..., o]).sum()
    return out


def slow_batch_norm(x):
    out = np.empty_like(x)
    for c in range(x.shape[-1]):
        out[..., c] = (x[..., c] - x[..., c].mean()) / np.sqrt(x[..., c].var() + 1e-3)
    return out


def slow_pool(x, size):
    rows, h, w, c = x.shape
    out = np.empty((rows, h // size, w // size, c))
    for r, i, j, k in np.ndindex(out.shape):
        out[r, i, j, k] = x[r, i * size : (i + 1) * size, j * size : (j + 1) * size, k].max()
    return out


def slow_group_norm(x, groups):
    out = np.empty_like(x)
    wide = x.shape[-1] // groups
    for row, g in np.ndindex(len(x), groups):
        part = x[row, ..., g * wide : (g + 1) * wide]
        out[row, ..., g * wide : (g + 1) * wide] = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
    return out


def slow_average(x):
    """The mean over the up to 9 places around each."""
    out = np.empty_like(x)
    for r, i, j, c in np.ndindex(out.shape):
        out[r, i, j, c] = x[r, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2, c].mean()
    return out
