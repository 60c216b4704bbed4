"""The named tasks, and lists of them. Standard library only.

Sizes, condition numbers and noise of the synthetic tasks are those of the training problems of
Wichrowska et al., "Learned optimizers that scale and generalize", ICML 2017 (L2O-Scale), those that
end in `-dm` of the Open-L2O code for Andrychowicz et al., NeurIPS 2016 (DM), and those that end in
`-m-l2o` of the code for Yang et al., ICLR 2023 (M-L2O). Networks and their sizes are those of the
papers' experiments, with linear logits; on 8x8 digits the ConvNet pads.
"""

import math
from typing import Any

from ..core.entry import Entry, Made, table

SYNTHETIC, WRAPPERS, NETWORKS = ".tasks.synthetic.", ".tasks.wrappers.", ".tasks.networks:"
QUADRATIC, BOWL = SYNTHETIC + "quadratic:Quadratic", SYNTHETIC + "quadratic:Bowl"
NORM, FORMULA = SYNTHETIC + "norm:Norm", SYNTHETIC + "functions:Formula"
FUNCTIONS = {  # name: what it looks like
    "ackley": "many ripples on a funnel",
    "beale": "a plain with sharp walls",
    "booth": "a quadratic valley",
    "branin": "three global minima",
    "log-sum-exp": "smooth and convex",
    "matyas": "a nearly flat valley",
    "michalewicz": "ridges on a plain",
    "rosenbrock": "a curved valley",
    "styblinski-tang": "four minima, one of them global",
}


def _formula(name: str, about: str, target: str, **arguments: Any) -> Entry:
    return Entry(name, about, target, arguments, "synthetic")


def _quadratic(name: str, about: str, n: int, **arguments: Any) -> Entry:
    scale = {"instances": 1, "data": "normal", "start": 1.0, "factor": 0.5}
    return _formula(name, about, QUADRATIC, n=n, **scale | arguments)


def _lasso(name: str, about: str, **arguments: Any) -> Entry:
    return _formula(name, about, SYNTHETIC + "lasso:Lasso", **arguments)


def _inverse(name: str, about: str, target: str, **arguments: Any) -> Entry:
    return Entry(name, about, ".tasks.inverse." + target, arguments, "inverse")


def _game(name: str, about: str, target: str, **arguments: Any) -> Entry:
    return Entry(name, about, ".tasks.games." + target, arguments, "games")


def _seesaw(number: int) -> Entry:
    (a, b), (c, d) = SEESAWS[number]
    name = "seesaw" if number == 1 else f"seesaw-{number}"
    about = f"−b v sin(aπu), a of {a:g} to {b:g}, b of {c:g} to {d:g}: many solutions (Twin-L2O)"
    return _game(name, about, "seesaw:Seesaw", range=number)


def _rastrigin(name: str, about: str, **arguments: Any) -> Entry:
    usual = {"n": 2, "data": "normal", "start": 1.0, "factor": 0.5}
    return _formula(name, about, SYNTHETIC + "rastrigin:Rastrigin", **usual | arguments)


def _bowl(name: str, about: str, **arguments: float) -> Entry:
    return _formula(name, f"{about} (L2O-Scale)", BOWL, **arguments)


def _noisy(name: str, about: str, task: Made, **noise: float) -> Entry:
    return _formula(name, f"{about} (L2O-Scale)", WRAPPERS + "noisy:Noisy", task=task, **noise)


def _classes(name: str, about: str, hidden: tuple[int, ...], data: str, **sizes: Any) -> Entry:
    network = Made(NETWORKS + "MLP", {"hidden": hidden, "start": "unit"})
    target = SYNTHETIC + "two_classes:TwoClasses"
    return _formula(name, f"{about} (L2O-Scale)", target, network=network, data=data, **sizes)


def _clouds(features: int, separation: float, batch_size: int) -> Entry:
    about = f"softmax regression of two clouds of points in {features} dimensions"
    sizes = {"features": features, "separation": separation, "batch_size": batch_size}
    return _classes(f"softmax-{features}", about, (), "clouds", **sizes)


def _teacher(features: int, hidden: tuple[int, ...], batch_size: int) -> Entry:
    name = "-".join(map(str, ("random-mlp", *hidden)))
    widths = "-".join(map(str, (features, *hidden, 2)))
    about = f"two random classes in {features} dimensions, {widths} sigmoid"
    return _classes(name, about, hidden, "teacher", features=features, batch_size=batch_size)


def _chain(form: str, about: str, n: int) -> Entry:
    return _formula(form, f"{about} (L2O-Scale)", SYNTHETIC + "chains:Chain", form=form, n=n)


def _combined(name: str, about: str, kind: str, **arguments: Any) -> Entry:
    return _formula(name, f"{about} (L2O-Scale)", f"{WRAPPERS}combined:{kind}", **arguments)


SEESAWS = {  # of a and b, by the number of the range
    1: ((0.9, 1.0), (0.9, 1.0)),
    2: ((0.0, 1.0), (0.9, 1.0)),
    3: ((0.0, 3.5), (0.9, 1.0)),
    4: ((0.0, 5.0), (0.9, 1.0)),
    5: ((0.9, 1.0), (0.0, 1.0)),
    6: ((0.0, 5.0), (0.0, 1.0)),
    7: ((0.0, 5.0), (0.0, 2.0)),
}
SPREADS = (0.1, 0.5, 1.0)  # standard deviations of W that M-L2O trains on
M_L2O = {"instances": 128, "data": "normal", "start": 0.01, "labels": "symmetric"}


def _m_l2o(kind: str, sigma: str, spread: float | tuple[float, ...]) -> Entry:
    """A family of `kind` "lasso" or "quadratic" whose W is N(0, σ²)."""
    name = f"{kind}-m-l2o" + ("" if isinstance(spread, tuple) else f"-{spread:g}")
    penalty, make = (" + 0.005‖x‖₁", _lasso) if kind == "lasso" else ("", _quadratic)
    about = f"mean of ½‖Wx − y‖²{penalty}, 128 systems in 10 unknowns, W ~ N(0, σ²), {sigma}"
    weight = {"l1": 0.005} if kind == "lasso" else {}
    return make(name, f"{about} (M-L2O)", n=10, spread=spread, **weight, **M_L2O)


LASSO_DM = {"n": 2, "instances": 128, "data": "uniform", "l1": 0.005, "start": 0.01}
SYNTHETIC_TASKS = (
    _quadratic(
        "quadratic", "½‖Wx − y‖², one system in 20 unknowns, all entries N(0, 1) (L2O-Scale)", 20
    ),
    _quadratic(
        "quadratic-dm",
        "mean of ‖Wx − y‖² over 128 systems in 10 unknowns, entries U(0, 1) (DM)",
        10,
        instances=128,
        data="uniform",
        start=0.01,
        factor=1.0,
    ),
    _formula(
        "wells",
        "a wide and a narrow well of equal depth in 2 dimensions: where does a run end?",
        SYNTHETIC + "wells:Wells",
    ),
    *(
        _quadratic(f"quadratic-{n}", f"½‖Wx − y‖² in {n} unknowns (L2O-Scale)", n)
        for n in (25, 50, 100)
    ),
    *(
        _quadratic(f"quadratic-{n}", f"½‖Wx − y‖² in {n} unknowns (L2O-Scale, large)", n)
        for n in (784, 1024, 2048)
    ),
    _noisy(
        "quadratic-noisy",
        "½‖Wx − y‖² in 20 unknowns, N(0, 0.5²) added to gradients",
        Made(QUADRATIC, {"n": 20}),
        deviation=0.5,
    ),
    _noisy(
        "quadratic-50-noisy",
        "½‖Wx − y‖² in 50 unknowns, N(0, 1) added to gradients",
        Made(QUADRATIC, {"n": 50}),
        deviation=1.0,
    ),
    _noisy(
        "quadratic-100-noisy",
        "½‖Wx − y‖² in 100 unknowns, N(0, 2²) added to gradients",
        Made(QUADRATIC, {"n": 100}),
        deviation=2.0,
    ),
    _lasso(
        "lasso",
        "½‖Wx − y‖² + ‖x‖₁, 20 unknowns, entries N(0, 1) (L2O-Scale)",
        n=20,
        instances=1,
        data="normal",
        l1=1.0,
        start=1.0,
    ),
    _lasso(
        "lasso-dm", "mean of ½‖Wx − y‖² + 0.005‖x‖₁ over 128 systems in 2 unknowns (DM)", **LASSO_DM
    ),
    _lasso(
        "lasso-dm-fixed", "lasso-dm with the same data in every episode (DM)", **LASSO_DM, seed=0
    ),
    *(
        _m_l2o(kind, sigma, spread)
        for kind in ("lasso", "quadratic")
        for sigma, spread in (
            ("σ of 0.1, 0.5, 1", SPREADS),
            ("σ = 10", 10.0),
            ("σ = 100", 100.0),
        )
    ),
    _rastrigin(
        "rastrigin",
        "a bowl with ripples in 2 unknowns, may be negative (L2O-Scale)",
        instances=1,
        reduce="mean",
        offset="n2",
    ),
    _rastrigin(
        "rastrigin-dm",
        "mean of 128 bowls with ripples in 2 unknowns, may be negative (DM)",
        instances=128,
        reduce="sum",
        offset="n",
    ),
    _rastrigin(
        "square-cos-dm",
        "mean of 128 bowls with ripples in 2 unknowns, entries U(0, 1) (DM)",
        instances=128,
        reduce="sum",
        offset="n",
        data="uniform",
        start=0.01,
        factor=1.0,
    ),
    _rastrigin(
        "rastrigin-m-l2o",
        "mean of Σ xᵢ² − α cos 2πxᵢ + α over 128 starts, 10 unknowns, α of 1, ½, 2 (M-L2O)",
        n=10,
        instances=128,
        data="textbook",
        box=3.0,
        factor=1.0,
        offset="n",
        alpha=(1.0, 0.5, 2.0),
    ),
    *(
        _rastrigin(
            "rastrigin-shifted" + (f"-{n}" if n > 2 else ""),
            f"Σ (xᵢ − x*ᵢ)² − 10 cos 2π(xᵢ − x*ᵢ) + 10, {n} unknowns, minimum 0 at a drawn x*",
            n=n,
            instances=1,
            data="textbook",
            box=3.0,
            factor=1.0,
            offset="n",
            shift=2.0,
        )
        for n in (2, 10, 20)
    ),
    _bowl("bowl-0.1", "½(0.1 x² + y²)", condition=0.1),
    _bowl("bowl-1", "½(x² + y²)", condition=1.0),
    _bowl("bowl-5", "½(5 x² + y²)", condition=5.0),
    _bowl("bowl-5-rotated", "½(5 x² + y²) turned by 45°", condition=5.0, angle=math.pi / 4),
    *(
        _formula(name, f"test function: {about}, 2 unknowns", FORMULA, function=name)
        for name, about in FUNCTIONS.items()
    ),
    _formula(
        "rosenbrock-m-l2o",
        "mean of rosenbrock over 128 starts, normal around 0 (M-L2O)",
        FORMULA,
        function="rosenbrock",
        instances=128,
        start=1.0,
    ),
    _clouds(10, 2.0, 100),
    _clouds(100, 1.0, 50),
    _clouds(200, 1.5, 20),
    _clouds(256, 1.5, 100),
    _teacher(9, (8,), 128),
    _teacher(8, (8, 5), 10),
    _teacher(12, (8, 5, 3), 200),
    _teacher(11, (4, 5, 6), 64),
    _teacher(5, (4, 4, 4, 4), 100),
    _teacher(8, (32, 64), 10),
    _formula("norm-1", "‖Wx − y‖₁ in 27 unknowns (L2O-Scale)", NORM, n=27, power=1.0),
    _formula("norm-2", "‖Wx − y‖₂ in 25 unknowns (L2O-Scale)", NORM, n=25, power=2.0),
    _formula("norm-3", "‖Wx − y‖₃ in 22 unknowns (L2O-Scale)", NORM, n=22, power=3.0),
    _formula(
        "matmul",
        "find an algorithm for 2x2 matrices with 7 multiplications (L2O-Scale)",
        SYNTHETIC + "matmul:Matmul",
        n=2,
        k=7,
    ),
    _formula(
        "matmul-3",
        "find an algorithm for 3x3 matrices with 23 multiplications (L2O-Scale)",
        SYNTHETIC + "matmul:Matmul",
        n=3,
        k=23,
    ),
    _inverse(
        "lasso-sparse",
        "½‖Ax − b‖² + 0.1‖x‖₁, b measured from a sparse x: 20 equations in 40 unknowns",
        "recovery:SparseRecovery",
        start="normal",
    ),
    _inverse(
        "sparse-recovery",
        "a sparse x from 64 measurements of 128 unknowns by one matrix, with 0.05‖x‖₁",
        "recovery:SparseRecovery",
        **{"rows": 64, "n": 128, "weight": 0.05, "seed": 0},
    ),
    _inverse(
        "logistic-l1",
        "mean logistic loss of 200 labels, 20 weights of 50 not zero, with 0.01‖x‖₁",
        "logistic:SparseLogistic",
    ),
    _inverse(
        "image-patches",
        "½‖Ax − b‖² + 0.5‖x‖₁, patches of 8x8 pixels of two photographs, 128 learned atoms",
        "patches:ImagePatches",
    ),
    _inverse(
        "logistic-breast-cancer",
        "mean logistic loss of 569 tumours in 30 features, with 0.01‖x‖₁",
        "tables:TabularLogistic",
        table="breast-cancer",
    ),
    _inverse(
        "logistic-odd-digits",
        "mean logistic loss of 1797 digits of 64 pixels, odd or even, with 0.01‖x‖₁",
        "tables:TabularLogistic",
        table="odd-digits",
    ),
    _chain("min-max-well", "only the largest and smallest of 20 unknowns have a gradient", 20),
    _chain("dependency-chain", "21 unknowns that come down one after the other", 21),
    _chain("outward-snake", "a winding path to infinity in 20 dimensions", 20),
    _chain("projection-quadratic", "a quadratic seen through other directions at each step", 20),
    _combined(
        "log-quadratic", "the logarithm of quadratic", "Log", task=Made(QUADRATIC, {"n": 20})
    ),
    _combined("log-bowl", "the logarithm of bowl-5", "Log", task=Made(BOWL, {"condition": 5.0})),
    _combined(
        "rescaled-quadratic",
        "quadratic-25 with all unknowns 10 times as large",
        "Rescaled",
        task=Made(QUADRATIC, {"n": 25}),
        scale=10.0,
    ),
    _combined(
        "rescaled-norm",
        "‖Wx − y‖ with p = 1.5 in 18 unknowns, 8 times as large",
        "Rescaled",
        task=Made(NORM, {"n": 18, "power": 1.5}),
        scale=8.0,
    ),
    _noisy(
        "sparse-quadratic",
        "quadratic with 99 % of each gradient set to zero",
        Made(QUADRATIC, {"n": 20}),
        zero=0.99,
    ),
    _noisy(
        "sparse-bowl",
        "bowl-5 with 99 % of each gradient set to zero",
        Made(BOWL, {"condition": 5.0}),
        zero=0.99,
    ),
    _combined(
        "sum-quadratics",
        "seven systems of 3 to 13 unknowns at once",
        "Sum",
        tasks=tuple(Made(QUADRATIC, {"n": n}) for n in (11, 3, 9, 7, 5, 13, 12)),
    ),
    _combined(
        "sum-functions",
        "the nine test functions at once",
        "Sum",
        tasks=tuple(Made(FORMULA, {"function": name}) for name in FUNCTIONS),
    ),
)

MATRIX_GAME, PUBLISHED = "matrix:MatrixGame", {"start": "uniform"}
GAMES = (
    _game(
        "saddle", "a u² − b v², one number for each player (Twin-L2O)", "quadratic:QuadraticGame"
    ),
    _game(
        "rotated-saddle",
        "a u² − b v² + 2uv, one number for each player (Twin-L2O)",
        "quadratic:QuadraticGame",
        coupling=1.0,
    ),
    *map(_seesaw, SEESAWS),
    _game(
        "matrix-game",
        "min over x, max over y of x a y, a of ½ to 1 (Twin-L2O)",
        MATRIX_GAME,
        n=1,
        law="uniform",
        **PUBLISHED,
    ),
    _game(
        "matrix-game-5",
        "min over x, max over y of xᵀAy in 5 unknowns each, half of A is 0 (Twin-L2O)",
        MATRIX_GAME,
        law="bernoulli-uniform",
        **PUBLISHED,
    ),
    _game(
        "bilinear-game",
        "min over x, max over y of xᵀAy in 5 unknowns each, all entries N(0, 1)",
        MATRIX_GAME,
    ),
    _game(
        "gan-ring",
        "a GAN: a generator and a critic of 2 x 32 units, data of 8 Gaussians on a circle",
        "mixture:GANRing",
    ),
)

IMAGES = {  # data set: how it is called in a task's line
    "digits": "8x8 digits",
    "mnist5k": "5000 MNIST digits",
    "mnist": "MNIST from a local folder",
    "cifar10": "CIFAR-10 from a local folder",
    "fashion": "Fashion-MNIST from a local folder",
    "breast-cancer": "569 tumours",
    "wine": "178 wines",
    "mixture": "3000 points of 16 clusters",
}
CONSTANT = {"padding": "VALID", "norm": "constant"}
UNPOOLED = {"channels": (8, 8), "pool": 1, "norm": "none", "batch_size": 64}
THREE = {"channels": (16, 32, 32), "kernels": (3, 3, 3), "strides": (1, 1, 1), "start": "he"}
TABULAR = {"activation": "relu", "start": "he", "batch_size": 32}
SIXTEEN = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def _images(data: str, ending: str, about: str, network: str, **arguments: Any) -> Entry:
    """`batch_size` is the task's, `noise` the data's; what else is given, the network's."""
    task = {"dataset": data, "network": Made(NETWORKS + network)}
    words = f"{IMAGES[data]}, {about}"
    return Entry(f"{data}-{ending}", words, ".tasks.classify:Classify", task | arguments, data)


IMAGE_TASKS = (
    _images("digits", "mlp", "64-20-10 sigmoid", "MLP"),
    _images("digits", "relu", "64-20-10 ReLU", "MLP", activation="relu"),
    _images("digits", "deeper", "64-20-20-10 sigmoid", "MLP", hidden=(20, 20)),
    _images("digits", "conv", "two padded convolutions with batch norm", "ConvNet"),
    _images(
        "digits", "conv-unpooled", "ConvNet, no norm, no pool (L2O-Scale)", "ConvNet", **UNPOOLED
    ),
    _images("digits", "nas", "one NAS-Bench-201 cell of 16 channels (DM)", "NASCell"),
    _images("digits", "vgg", "six 3x3 convolutions, batch norm", "VGG"),
    _images("digits", "resnet", "ResNet of 8 layers with group norm", "ResNet"),
    _images("mnist5k", "mlp", "784-20-10 sigmoid", "MLP"),
    _images("mnist5k", "relu", "784-20-10 ReLU", "MLP", activation="relu"),
    _images("mnist5k", "deeper", "784-20-20-10 sigmoid", "MLP", hidden=(20, 20)),
    _images("mnist5k", "conv", "the published ConvNet", "ConvNet", padding="VALID"),
    _images(
        "mnist5k", "conv-constant", "ConvNet, norm by √1.001 (L2O-Scale)", "ConvNet", **CONSTANT
    ),
    _images(
        "mnist5k", "conv-unpooled", "ConvNet, no norm, no pool (L2O-Scale)", "ConvNet", **UNPOOLED
    ),
    _images("mnist5k", "lenet", "LeNet with batch norm (DM)", "LeNet"),
    _images("mnist5k", "nas", "one NAS-Bench-201 cell of 16 channels (DM)", "NASCell"),
    _images("mnist5k", "vgg", "six 3x3 convolutions, batch norm", "VGG"),
    _images("mnist5k", "resnet", "ResNet of 8 layers with group norm", "ResNet"),
    _images("mnist", "mlp", "784-20-10 sigmoid: the published meta-training task", "MLP"),
    _images("mnist", "relu", "784-20-10 ReLU", "MLP", activation="relu"),
    _images("mnist", "deeper", "784-20-20-10 sigmoid", "MLP", hidden=(20, 20)),
    _images("mnist", "conv", "the published ConvNet", "ConvNet", padding="VALID"),
    _images("mnist", "conv-constant", "ConvNet, norm by √1.001 (L2O-Scale)", "ConvNet", **CONSTANT),
    _images(
        "mnist", "conv-unpooled", "ConvNet, no norm, no pool (L2O-Scale)", "ConvNet", **UNPOOLED
    ),
    _images("mnist", "lenet", "LeNet with batch norm (DM)", "LeNet"),
    _images("mnist", "nas", "one NAS-Bench-201 cell of 16 channels (DM)", "NASCell"),
    _images("mnist", "vgg", "six 3x3 convolutions, batch norm", "VGG"),
    _images("mnist", "resnet", "ResNet of 8 layers with group norm", "ResNet"),
    _images("cifar10", "relu", "3072-20-10 ReLU", "MLP", activation="relu"),
    _images(
        "cifar10",
        "conv",
        "the published ConvNet with stride 2",
        "ConvNet",
        padding="VALID",
        strides=(2, 2),
    ),
    _images(
        "cifar10",
        "conv-constant",
        "ConvNet, norm by √1.001 (L2O-Scale)",
        "ConvNet",
        **CONSTANT | {"strides": (2, 2)},
    ),
    _images(
        "cifar10",
        "conv-unpooled",
        "ConvNet, no norm, no pool (L2O-Scale)",
        "ConvNet",
        **UNPOOLED | {"channels": (16, 16)},
    ),
    _images("cifar10", "lenet", "LeNet with batch norm (DM)", "LeNet"),
    _images("cifar10", "nas", "one NAS-Bench-201 cell of 16 channels (DM)", "NASCell"),
    _images("cifar10", "vgg", "six 3x3 convolutions, batch norm", "VGG"),
    _images("cifar10", "vgg16", "VGG-16 with batch norm (DM)", "VGG", stages=SIXTEEN),
    _images("cifar10", "resnet", "ResNet of 8 layers with group norm", "ResNet"),
    _images("cifar10", "resnet20", "ResNet of 20 layers with group norm", "ResNet", blocks=3),
    _images("cifar10", "conv3", "three padded 3x3 convolutions, batch norm", "ConvNet", **THREE),
    _images("fashion", "relu", "784-20-10 ReLU", "MLP", activation="relu"),
    _images("fashion", "conv", "the published ConvNet", "ConvNet", padding="VALID"),
    _images("fashion", "lenet", "LeNet with batch norm (DM)", "LeNet"),
    _images("fashion", "resnet", "ResNet of 8 layers with group norm", "ResNet"),
    _images("breast-cancer", "mlp", "30-20-2 ReLU", "MLP", **TABULAR),
    _images("wine", "mlp", "13-20-3 ReLU", "MLP", **TABULAR),
    _images("mixture", "mlp", "10-50-4 ReLU", "MLP", **TABULAR | {"hidden": (50,)}),
    _images(
        "mixture",
        "noisy",
        "10-50-4 ReLU, a fifth of the labels wrong",
        "MLP",
        **TABULAR | {"hidden": (50,), "noise": 0.2},
    ),
)

TEXT_TASKS = (
    Entry(
        "next-letter",
        "a transformer of 2 blocks on sequences of 16 letters, whose entropy is known",
        ".tasks.text.next_letter:next_letter",
        {"split": 0},
        family="texts",
    ),
    Entry(
        "newsgroups-prompt",
        "four newsgroups told apart by a soft prompt and a head on MiniLM; see `steppe fetch`",
        ".tasks.text.prompts:newsgroups",
        family="texts",
    ),
)

TASKS = table(*SYNTHETIC_TASKS, *GAMES, *IMAGE_TASKS, *TEXT_TASKS)

SUITES: dict[str, tuple[str, ...]] = {  # named lists of tasks
    "published-evaluation": (  # DM and RNNprop
        "mnist-mlp", "mnist-relu", "mnist-deeper", "mnist-conv", "cifar10-conv",
    ),
    "published-networks": (  # all of the DM code base
        "mnist-mlp", "mnist-relu", "mnist-deeper", "mnist-conv", "cifar10-conv", "cifar10-lenet",
        "cifar10-nas", "cifar10-vgg16",
    ),
    "l2o-scale-training": ("mnist-mlp", "mnist-conv-unpooled", "cifar10-conv-unpooled"),
    "l2o-scale-evaluation": (
        "mnist-mlp", "mnist-relu", "mnist-deeper", "mnist-conv-constant", "cifar10-conv-constant",
    ),
    **{
        data: tuple(name for name, entry in TASKS.items() if entry.family == data)
        for data in ("digits", "mnist5k", "mnist", "cifar10", "fashion")
    },
    "not-digits": (
        "cifar10-conv3", "fashion-conv", "breast-cancer-mlp", "wine-mlp", "mixture-noisy",
        "next-letter",
    ),
    "dm-synthetic": (
        "quadratic-dm", "lasso-dm", "lasso-dm-fixed", "rastrigin-dm", "square-cos-dm",
    ),
    "test-functions": (
        "ackley", "beale", "booth", "branin", "log-sum-exp", "matyas", "michalewicz", "rosenbrock",
        "styblinski-tang",
    ),
    "l2o-scale-synthetic": (
        "quadratic", "quadratic-25", "quadratic-50", "quadratic-100",
        "quadratic-noisy", "quadratic-50-noisy", "quadratic-100-noisy",
        "lasso", "rastrigin", "bowl-0.1", "bowl-1", "bowl-5", "bowl-5-rotated",
        "ackley", "beale", "booth", "branin", "log-sum-exp", "matyas", "michalewicz", "rosenbrock",
        "styblinski-tang", "softmax-10", "softmax-100", "softmax-200", "softmax-256",
        "random-mlp-8", "random-mlp-8-5", "random-mlp-8-5-3", "random-mlp-4-5-6",
        "random-mlp-4-4-4-4", "random-mlp-32-64", "norm-1", "norm-2", "norm-3", "matmul",
        "matmul-3", "min-max-well", "dependency-chain", "outward-snake", "projection-quadratic",
        "log-quadratic", "log-bowl", "rescaled-quadratic", "rescaled-norm", "sparse-quadratic",
        "sparse-bowl", "sum-quadratics", "sum-functions",
    ),
    "m-l2o": (
        "lasso-m-l2o", "lasso-m-l2o-10", "lasso-m-l2o-100", "quadratic-m-l2o",
        "quadratic-m-l2o-10", "quadratic-m-l2o-100", "rastrigin-m-l2o", "rosenbrock-m-l2o",
    ),
    "games": (
        "saddle", "rotated-saddle", "seesaw", "seesaw-2", "seesaw-3", "seesaw-4", "seesaw-5",
        "seesaw-6", "seesaw-7", "matrix-game", "matrix-game-5", "bilinear-game", "gan-ring",
    ),
    "l2o-scale-large": ("quadratic-784", "quadratic-1024", "quadratic-2048"),
}  # fmt: skip
