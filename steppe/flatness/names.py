"""The named measures, in words. Imports nothing, so that `steppe list` need not wait for JAX."""

NAMES = {
    "trace": "tr H, signed; mean of vᵀHv over random signs: probes=1",
    "frobenius": "‖H‖²_F, the sum of squared eigenvalues: probes=1",
    "gauss-newton": "tr G ≥ 0 of the Gauss–Newton matrix, for tasks with a model: probes=1",
    "top-eigenvalue": "the eigenvalue of largest modulus, warm start",
    "log-det": "½ ln det(I + H/γ): gamma=1, probes=1",
    "entropy": "local free energy −G̃ (Entropy-SGD): gamma=1, temperature",
    "smoothed": "the loss through a Gaussian window of variance 1/γ: gamma=1",
    "sharpness": "rise of the loss to the worst point within 0.05 (SAM)",
    "gradient-norm": "‖∇f‖², HALO's regularizer",
    "krylov": "trace of H over a Krylov space, for comparison: not tr H, not a density",
    "squared-norm": "‖θ‖², no measure of flatness: the control that one has to beat",
}

TAKES = {  # of `gamma`, `temperature` and `probes`
    "trace": ("probes",),
    "frobenius": ("probes",),
    "gauss-newton": ("probes",),
    "log-det": ("gamma", "probes"),
    "entropy": ("gamma", "temperature"),
    "smoothed": ("gamma",),
}
