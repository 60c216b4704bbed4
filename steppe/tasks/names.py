"""The named tasks, in words. Imports nothing, so that `steppe list tasks` need not wait for JAX."""

NAMES = {
    "quadratic": "½‖Wx − y‖², one system in 20 unknowns, all entries N(0, 1) (L2O-Scale)",
    "quadratic-dm": "mean of ‖Wx − y‖² over 128 systems in 10 unknowns, entries U(0, 1) (DM)",
    "wells": "a wide and a narrow well of equal depth in 2 dimensions: where does a run end?",
    "digits-mlp": "8x8 digits, 64-20-10 sigmoid",
    "digits-relu": "8x8 digits, 64-20-10 ReLU",
    "digits-deeper": "8x8 digits, 64-20-20-10 sigmoid",
    "digits-conv": "8x8 digits, two padded convolutions with batch norm",
    "mnist5k-mlp": "5000 MNIST digits, 784-20-10 sigmoid",
    "mnist5k-relu": "5000 MNIST digits, 784-20-10 ReLU",
    "mnist5k-deeper": "5000 MNIST digits, 784-20-20-10 sigmoid",
    "mnist5k-conv": "5000 MNIST digits, the published ConvNet",
    "mnist-mlp": "MNIST from a local folder, 784-20-10 sigmoid: the published meta-training task",
    "mnist-relu": "MNIST from a local folder, 784-20-10 ReLU",
    "mnist-deeper": "MNIST from a local folder, 784-20-20-10 sigmoid",
    "mnist-conv": "MNIST from a local folder, the published ConvNet",
    "cifar10-conv": "CIFAR-10 from a local folder, the published ConvNet with stride 2",
}

SUITES: dict[str, tuple[str, ...]] = {  # named lists of tasks
    "digits": ("digits-mlp", "digits-relu", "digits-deeper", "digits-conv"),
}
