"""Families of optimizers in the benchmark, and what tells them apart: section 2 of the survey."""

HEAD = (
    "family", "methods", "needs gradients", "supervised", "fixed number of steps",
    "any dimension", "trained numbers", "guarantee",
)  # fmt: skip

ROWS = (
    ("by hand", "ISTA, FISTA, AMP, OMP, GD, Adam, extragradient, PSO", "yes; PSO no", "–", "no",
     "yes", "0 to 2, tuned", "a rate for convex problems (not AMP, Adam, PSO)"),
    ("unrolled, matrices learned", "LISTA, LISTA-CP, LISTA-CPSS, LFISTA, LAMP, GLISTA",
     "products with A", "yes, or by the objective", "yes; then FISTA takes over", "no: one A",
     "a matrix a layer", "none once trained"),
    ("unrolled, matrices by formula", "ALISTA, TISTA, StepLISTA, HyperLISTA", "products with A",
     "yes; StepLISTA by the objective", "yes", "no: one A", "3, or 1 to 2 a layer",
     "a certificate on fresh problems"),
    ("a scheme with learned parts", "Math-L2O", "yes, and a proximal map", "by the objective",
     "no", "yes", "a small network", "with its monotone form, the objective never rises"),
    ("model-free", "DM, RNNProp, L2O-Scale", "yes", "by the objective", "no", "yes",
     "a small network", "none; with a guard, that of the fallback"),
    ("model-free, flat", "the same, with a penalty on curvature or on gradients (HALO)", "yes",
     "by the objective", "no", "yes", "a small network",
     "none; with a guard, that of the fallback"),
    ("formulas", "symbolic forms of model-free ones", "yes", "of a teacher", "no", "yes",
     "a few constants", "a PAC-Bayes bound, which is small where numbers are few"),
    ("adapted", "M-L2O: any of these after a few meta-steps on the new problems", "yes",
     "by the objective", "no", "yes", "as before", "none"),
    ("games", "Twin, learned extragradient", "of both players", "by the merit", "no", "yes",
     "two small networks, or ten", "guarded: at no step a larger gradient than the fallback"),
    ("swarms", "LOIS, Formation", "of every particle", "by the objective", "no", "yes",
     "a small network with attention, or 17", "none"),
)  # fmt: skip

USE = (
    "One matrix and many measurements: ALISTA, TISTA or HyperLISTA. A LASSO objective and few "
    "iterations: LISTA or ALISTA, then FISTA. Networks to train: a model-free optimizer with "
    "curriculum and imitation. A rugged landscape of few dimensions: a swarm. A game: "
    "a learned extragradient, or Twin. Where it must not fail: a guard."
)
