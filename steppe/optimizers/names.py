"""The named optimizers. Standard library only."""

from typing import Any

from ..core.entry import Entry, table

LEARNED = ".optimizers.learned."
CLASSIC = ".optimizers.classic."
UNROLLED = ".optimizers.unrolled."
OPTAX = CLASSIC + "from_optax:"


def _unrolled(name: str, about: str, target: str, **arguments: Any) -> Entry:
    place = UNROLLED + target
    return Entry(name, about, place, arguments, "unrolled", learned=True, needs="LeastSquares")


def _game(name: str, about: str, target: str, **arguments: Any) -> Entry:
    kind = {"family": "for games", "tunable": ("lr",), "needs": "Saddle"}
    return Entry(name, about, CLASSIC + target, arguments, **kind)


def _evosax(name: str, about: str, strategy: str, **arguments: float) -> Entry:
    given = {"name": strategy, **arguments}
    place, words = CLASSIC + "from_evosax:FromEvosax", f"{about}, from evosax"
    return Entry(name, words, place, given, "by hand", tunable=tuple(arguments), needs="Stacked")


OPTIMIZERS = table(
    Entry(
        "dm",
        "LSTM on size and sign of the gradient (Andrychowicz et al. 2016)",
        LEARNED + "dm:DM",
        family="networks",
        learned=True,
    ),
    Entry(
        "rnnprop",
        "LSTM on Adam-like features, bounded steps (Lv et al. 2017)",
        LEARNED + "rnnprop:RNNProp",
        family="networks",
        learned=True,
    ),
    Entry(
        "l2o-scale",
        "GRUs of a coordinate, a tensor, a problem (Wichrowska et al. 2017)",
        LEARNED + "scale:Scale",
        family="networks",
        learned=True,
    ),
    Entry(
        "small-mlp",
        "small MLP on momentum at several time scales, normalised steps (Metz et al. 2022)",
        LEARNED + "small_mlp:SmallMLP",
        family="networks",
        learned=True,
    ),
    Entry(
        "gru",
        "GRU on scaled gradients, a rate for each coordinate (Wichrowska et al. 2017)",
        LEARNED + "gru:CoordinatewiseGRU",
        family="networks",
        learned=True,
    ),
    Entry(
        "math-l2o",
        "LSTM that chooses steps and momentum of a proximal scheme (Liu et al. 2023)",
        LEARNED + "math_l2o:MathL2O",
        family="networks",
        learned=True,
        needs="Composite",
    ),
    Entry(
        "go-math-l2o",
        "math-l2o that sees gradients alone, in units of the first (Song et al. 2024)",
        LEARNED + "go_math_l2o:GoMathL2O",
        family="networks",
        learned=True,
        needs="Composite",
    ),
    Entry(
        "swarm",
        "LSTM and attention between particles that learn from each other (Cao et al. 2019)",
        LEARNED + "swarm:Swarm",
        family="networks",
        learned=True,
        needs="Stacked",
    ),
    Entry(
        "twin",
        "LSTMs of the two players of a game, who move in turn (Shen et al. 2021)",
        LEARNED + "twin:Twin",
        family="networks",
        learned=True,
        needs="Saddle",
    ),
    Entry(
        "learned-extragradient",
        "extragradient with momentum, five numbers for each player of a game",
        LEARNED + "extragradient:LearnedExtragradient",
        family="a few numbers",
        learned=True,
        tunable=("lr",),
        needs="Saddle",
    ),
    Entry(
        "step-fista",
        "FISTA with a learned step and momentum at each of its first iterations",
        LEARNED + "step_fista:StepFISTA",
        family="a few numbers",
        learned=True,
        tunable=("layers",),
        needs="Composite",
    ),
    Entry(
        "formation",
        "an even population around its mean, with learned widths and steps",
        LEARNED + "formation:Formation",
        family="a few numbers",
        learned=True,
        tunable=("spread", "rate"),
        needs="Stacked",
    ),
    Entry(
        "symbolic",
        "a formula of averages and earlier gradients, such as Adam (Zheng et al. 2022)",
        LEARNED + "symbolic:Symbolic",
        family="a few numbers",
        learned=True,
    ),
    Entry(
        "learned-adam",
        "the four numbers of Adam",
        LEARNED + "learned_adam:LearnedAdam",
        family="a few numbers",
        learned=True,
        tunable=("lr",),
    ),
    Entry(
        "learned-schedule",
        "a rate for each step of gradient descent",
        LEARNED + "learned_adam:LearningRateSchedule",
        family="a few numbers",
        learned=True,
        tunable=("steps", "lr"),
    ),
    Entry(
        "learned-rate",
        "one rate of gradient descent",
        LEARNED + "learned_adam:global_learning_rate",
        family="a few numbers",
        learned=True,
        tunable=("lr",),
    ),
    _unrolled("lista", "ISTA with learned matrices (Gregor & LeCun 2010)", "lista:LISTA"),
    _unrolled("lista-tied", "lista with one matrix for all layers", "lista:LISTA", tied=True),
    _unrolled("lfista", "FISTA with learned matrices (Moreau & Bruna 2017)", "lista:LFISTA"),
    _unrolled(
        "step-lista",
        "ISTA with a learned step in each layer, for any matrix (Ablin et al. 2019)",
        "step_lista:StepLISTA",
    ),
    _unrolled(
        "lista-cp",
        "gradient steps with a learned matrix in each layer (Chen et al. 2018)",
        "coupled:LISTACP",
    ),
    _unrolled(
        "lista-cpss",
        "lista-cp whose thresholds spare the largest entries (Chen et al. 2018)",
        "coupled:LISTACP",
        p=1.2,
    ),
    _unrolled(
        "tilista",
        "one learned matrix, a step and a threshold in each layer (Liu et al. 2019)",
        "coupled:TiLISTA",
    ),
    _unrolled(
        "alista",
        "a matrix by formula, a step and a threshold in each layer (Liu et al. 2019)",
        "coupled:ALISTA",
    ),
    _unrolled(
        "lamp",
        "approximate message passing with learned matrices (Borgerding et al. 2017)",
        "lamp:LAMP",
    ),
    _unrolled(
        "tista",
        "a step in each layer, shrinkage by an estimate of the error (Ito et al. 2019)",
        "tista:TISTA",
    ),
    _unrolled(
        "glista",
        "lista-cpss with gates against what thresholds take away (Wu et al. 2020)",
        "glista:GLISTA",
    ),
    _unrolled(
        "na-alista",
        "alista whose steps and thresholds an LSTM chooses (Behrens et al. 2021)",
        "na_alista:NAALISTA",
    ),
    Entry(
        "hyperlista",
        "alista with three numbers that are found by trying (Chen et al. 2021)",
        UNROLLED + "hyperlista:HyperLISTA",
        family="unrolled",
        tunable=("c1", "c2", "c3"),
        needs="LeastSquares",
    ),
    Entry("sgd", "gradient descent", OPTAX + "sgd", family="by hand", tunable=("lr",)),
    Entry("momentum", "heavy ball", OPTAX + "momentum", family="by hand", tunable=("lr", "decay")),
    Entry(
        "nesterov",
        "gradient descent with Nesterov's momentum",
        OPTAX + "nesterov",
        family="by hand",
        tunable=("lr", "decay"),
    ),
    Entry("adam", "Adam (Kingma & Ba 2015)", OPTAX + "adam", family="by hand", tunable=("lr",)),
    Entry(
        "rmsprop",
        "RMSProp (Tieleman & Hinton 2012)",
        OPTAX + "rmsprop",
        family="by hand",
        tunable=("lr",),
    ),
    Entry(
        "adam-cosine",
        "Adam whose rate falls to zero with a cosine",
        CLASSIC + "cosine:adam_cosine",
        family="by hand",
        tunable=("lr",),
    ),
    Entry(
        "adamw-cosine",
        "AdamW whose rate falls to zero with a cosine (Loshchilov & Hutter 2019)",
        CLASSIC + "cosine:adamw_cosine",
        family="by hand",
        tunable=("lr", "weight_decay"),
        tries={"weight_decay": (0.01, 0.1, 1.0)},
    ),
    Entry(
        "momentum-cosine",
        "heavy ball with weight decay whose rate falls to zero with a cosine",
        CLASSIC + "cosine:momentum_cosine",
        family="by hand",
        tunable=("lr", "weight_decay", "decay"),
        tries={"weight_decay": (5e-4, 0.0, 5e-3)},
    ),
    Entry(
        "sam-cosine",
        "SAM around momentum-cosine: two gradients a step (Foret et al. 2021)",
        CLASSIC + "cosine:sam_cosine",
        family="by hand",
        tunable=("lr", "rho", "weight_decay"),
        tries={"rho": (0.05, 0.1, 0.5)},
    ),
    Entry(
        "sam-cosine-half",
        "sam-cosine that ends after half of the steps: as many gradients as others",
        CLASSIC + "cosine:sam_cosine",
        {"half": True},
        family="by hand",
        tunable=("lr", "rho", "weight_decay"),
        tries={"rho": (0.05, 0.1, 0.5)},
    ),
    Entry(
        "schedule-free-adamw",
        "AdamW that averages its path in place of a falling rate (Defazio et al. 2024)",
        CLASSIC + "schedule_free:schedule_free_adamw",
        family="by hand",
        tunable=("lr", "weight_decay"),
        tries={"weight_decay": (0.01, 0.0, 0.1)},
    ),
    Entry(
        "schedule-free",
        "a schedule-free optimizer of optax, base, judged at its average",
        CLASSIC + "schedule_free:ScheduleFree",
        family="wrappers",
    ),
    Entry(
        "optax",
        "any optax factory: make=NAME and its arguments",
        OPTAX + "FromOptax",
        family="by hand",
    ),
    Entry(
        "entropy-sgd",
        "gradient of the local entropy, by a chain at each step (Chaudhari et al. 2017)",
        CLASSIC + "entropy_sgd:EntropySGD",
        family="by hand",
        tunable=("learning_rate", "gamma"),
    ),
    Entry(
        "ista",
        "proximal gradient descent on smooth + regularizer",
        CLASSIC + "proximal:ISTA",
        family="by hand",
        tunable=("step",),
        needs="Composite",
    ),
    Entry(
        "fista",
        "accelerated proximal gradient descent, with or without restart (Beck & Teboulle 2009)",
        CLASSIC + "proximal:FISTA",
        family="by hand",
        tunable=("step",),
        needs="Composite",
    ),
    Entry(
        "amp",
        "approximate message passing for sparse recovery (Donoho et al. 2009)",
        CLASSIC + "amp:AMP",
        family="by hand",
        tunable=("threshold",),
        needs="LeastSquares",
    ),
    _game("gda", "gradient descent and ascent at once", "games:GDA"),
    _game(
        "gda-alternating",
        "gradient descent, then ascent from the new point: two gradients a step",
        "games:GDA",
        alternating=True,
    ),
    _game(
        "optimistic-gda",
        "descent and ascent along an extrapolated gradient (Daskalakis et al. 2018)",
        "games:OptimisticGDA",
    ),
    _game(
        "extragradient",
        "the gradient of one step ahead: two gradients a step (Korpelevich 1976)",
        "games:Extragradient",
    ),
    _game(
        "anchored",
        "descent and ascent, drawn back to the start less and less (Ryu et al. 2019)",
        "games:Anchored",
    ),
    _game(
        "anchored-extra",
        "extragradient, drawn back to the start less and less (Yoon & Ryu 2021)",
        "games:Anchored",
        extra=True,
    ),
    _game(
        "proximal-point",
        "the resolvent (I + lr F)⁻¹ by Newton's method (Rockafellar 1976)",
        "resolvent:ProximalPoint",
    ),
    _game(
        "halpern",
        "the resolvent, drawn back to the start less and less (Halpern 1967, Lieder 2021)",
        "resolvent:Halpern",
    ),
    Entry(
        "descent-ascent",
        "another optimizer, base, that sees the gradient of the second player with its sign turned",
        CLASSIC + "descent_ascent:DescentAscent",
        family="wrappers",
        needs="Saddle",
    ),
    Entry(
        "pso",
        "particles drawn to the best places seen (Kennedy & Eberhart 1995)",
        CLASSIC + "pso:PSO",
        family="by hand",
        tunable=("inertia", "cognitive", "social"),
        needs="Stacked",
    ),
    _evosax("cma-es", "evolution with a learned covariance (Hansen 2001)", "CMA_ES", std_init=1.5),
    _evosax("sep-cma-es", "cma-es with a diagonal covariance", "Sep_CMA_ES", std_init=1.5),
    _evosax("les", "a learned evolution strategy (Lange et al. 2023)", "LES", std_init=1.5),
    _evosax("lga", "a learned genetic algorithm (Lange et al. 2023)", "LGA", std_init=1.5),
    _evosax("evotf", "a strategy by a transformer (Lange et al. 2024)", "EvoTF_ES", std_init=1.5),
    Entry(
        "sam",
        "another optimizer, base, on the gradient at the worst nearby point (Foret et al. 2021)",
        CLASSIC + "sam:SAM",
        family="wrappers",
        tunable=("rho",),
    ),
    Entry(
        "scheduled",
        "another optimizer, base, with a factor on its updates and a cosine that ends them",
        ".optimizers.scheduled:Scheduled",
        family="wrappers",
        tunable=("factor",),
    ),
    Entry(
        "weight-decay",
        "another optimizer, base, on the gradient with weight decay",
        ".optimizers.weight_decay:WeightDecay",
        family="wrappers",
        tunable=("weight",),
    ),
    Entry(
        "adaptable",
        "another optimizer, base, with a trained rate of adaptation for each of its tensors",
        ".optimizers.adaptable:Adaptable",
        family="wrappers",
    ),
    Entry(
        "guarded",
        "another optimizer, base, whose steps a classical one, fallback, accepts or replaces",
        ".optimizers.guarded:Guarded",
        family="wrappers",
    ),
    Entry(
        "self-adapting",
        "another optimizer, base, whose trained tensors go on moving while it runs",
        ".optimizers.self_adapting:SelfAdapting",
        family="wrappers",
        tunable=("rate",),
    ),
    Entry(
        "sparse-updates",
        "another optimizer, base, of whose tensors some rest at each step (Li et al. 2020)",
        ".optimizers.sparse_updates:SparseUpdates",
        family="wrappers",
    ),
    Entry(
        "watchdog",
        "another optimizer, base, and a second one, fallback, where that makes no progress",
        ".optimizers.watchdog:Watchdog",
        family="wrappers",
    ),
)
