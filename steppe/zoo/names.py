"""The named optimizers, in words. Imports nothing, so that `steppe list` need not wait for JAX."""

NAMES = {
    "dm": "learned: LSTM on size and sign of the gradient (Andrychowicz et al. 2016)",
    "rnnprop": "learned: LSTM on Adam-like features, bounded steps (Lv et al. 2017)",
    "l2o-scale": "learned: GRUs of a coordinate, a tensor, a problem (Wichrowska et al. 2017)",
    "gru": "learned: GRU on scaled gradients, a rate for each coordinate (Wichrowska et al. 2017)",
    "learned-adam": "learned: the four numbers of Adam: lr=0.001",
    "learned-schedule": "learned: a rate for each step of gradient descent: steps=100, lr=0.001",
    "learned-rate": "learned: one rate of gradient descent: lr=0.001",
    "sgd": "gradient descent: lr",
    "momentum": "heavy ball: lr, decay=0.9",
    "adam": "Adam (Kingma & Ba 2015): lr",
    "rmsprop": "RMSProp (Tieleman & Hinton 2012): lr",
    "optax": "any optax factory: make=NAME and its arguments",
}

CL = "episodes grow, validation decides when"
IL = "now and then it imitates Adam"
PRESETS = {  # of recipe.py
    "dm": "L2O-DM as published with Open-L2O: 50 000 meta-steps on episodes of 100 steps",
    "dm-cl": f"the same with a curriculum: {CL}",
    "dm-il": f"the same with imitation: {IL}",
    "dm-cl-il": "the same with both (Chen et al. 2020)",
    "rnnprop": "RNNProp as published with Open-L2O: 500 meta-steps on episodes of 100 steps",
    "rnnprop-cl": f"the same with a curriculum: {CL}",
    "rnnprop-il": f"the same with imitation: {IL}",
    "rnnprop-cl-il": "the same with both (Chen et al. 2020)",
    "l2o-scale": "L2O-Scale as published with Open-L2O: logarithmic loss, RMSProp at 1e-6",
    "l2o-scale-cl": f"the same with a curriculum: {CL}",
    "l2o-scale-il": f"the same with imitation: {IL}",
    "l2o-scale-cl-il": "the same with both (Chen et al. 2020)",
}

PRETRAINED = {  # weights/*.safetensors, see pretrained.py
    "dm-v1": "DM, an LSTM of 20 cells, meta-trained on 8x8 digits",
    "dm-flat-v1": "twin of dm-v1, with a measure of flatness in the meta-objective",
    "rnnprop-v1": "RNNProp, an LSTM of 20 cells, meta-trained on 8x8 digits",
    "rnnprop-flat-v1": "twin of rnnprop-v1, with a measure of flatness in the meta-objective",
    "l2o-scale-v1": "L2O-Scale, with the published sizes, meta-trained on 8x8 digits",
    "l2o-scale-flat-v1": "twin of l2o-scale-v1, with a measure of flatness in the meta-objective",
}
