"""The networks that `Classify` trains: value objects that draw parameters and apply them.

One architecture, one file; `network.py` says what they promise, `layers.py` what they share. The
published sizes (flatness-l2o.md §9.1), with the number of parameters:

    mnist          MLP()                                                         15 910
    mnist_relu     MLP(activation="relu")                                        15 910
    mnist_deeper   MLP(hidden=(20, 20))                                          16 330
    mnist_conv     ConvNet(padding="VALID", relu_logits=True)                    18 122
    cifar_conv     ConvNet(padding="VALID", strides=(2, 2), relu_logits=True)    13 610
    lenet          LeNet(); LeNet(offsets=True)                          62 006; 62 232
    nas            NASCell(relu_logits=True)                                      7 578
    vgg16          VGG(SIXTEEN, norm="none", start="published")              14 719 818

Departure: logits are linear unless `relu_logits` is set. With ReLU on the logits the gradient is
exactly zero once all logits are ≤ 0, and the loss stays at ln(classes) for ever.
"""

from .convnet import ConvNet, LeNet
from .layers import AbstractNetwork, batch_norm, convolve, max_pool
from .mlp import MLP
from .nas_cell import NASCell
from .resnet import ResNet
from .vgg import VGG

__all__ = [
    "MLP",
    "VGG",
    "AbstractNetwork",
    "ConvNet",
    "LeNet",
    "NASCell",
    "ResNet",
    "batch_norm",
    "convolve",
    "max_pool",
]
