"""The small suite: needs torch alone and takes seconds; `make test` runs it."""

from typing import Callable

import torch
from torch import nn

import own
import own_attention
import own_control
from case import Case


def images(*size: int) -> torch.Tensor:
    return torch.randn(*size)


def resnets() -> dict[str, Callable[[], Case]]:
    def blocks(pre: bool):
        return lambda inner, outer, stride: own.Residual(inner, outer, stride, pre)

    def grouped(inner: int, outer: int, stride: int) -> nn.Module:
        return own.Bottleneck(inner, outer, stride, 4)

    makes = {
        "small-resnet20": lambda: own.SmallImages(blocks(False), (16, 32, 64), 3),
        "small-resnet20-v2": lambda: own.SmallImages(blocks(True), (16, 32, 64), 3),
        "small-wide-resnet10": lambda: own.SmallImages(blocks(True), (64, 128, 256), 1),
        "small-resnext11": lambda: own.SmallImages(grouped, (32, 64, 128), 1),
    }
    return {n: lambda m=m: Case(m(), (images(2, 3, 32, 32),), (images(1, 3, 32, 32),)) for n, m in makes.items()}


def next_letter() -> Case:
    def call(batch: int) -> tuple:
        return torch.randint(65, (1, batch)), torch.randn(2, batch, 128), torch.randn(2, batch, 128)

    return Case(own.NextLetter(), call(3), call(1))


def recommender() -> Case:
    def call(users: int) -> tuple:
        return torch.randint(500, (users, 1)).expand(users, 40), torch.randint(300, (users, 40))

    return Case(own.Recommender(), call(4), call(2))


def deep_recommender() -> Case:
    def call(batch: int) -> tuple:
        return torch.randn(batch, 13), [torch.randint(30, (batch, 3)) for _ in range(3)]

    return Case(own.DeepRecommender(), call(4), call(2), script=True)


def encoder(script: bool) -> Case:
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, activation="gelu")
    module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return Case(module, (torch.randn(2, 10, 64),), (torch.randn(3, 7, 64),), script)


def sequences(module: nn.Module, script: bool = False) -> Case:
    return Case(module, (torch.randn(2, 12, 64),), (torch.randn(1, 9, 64),), script)


def words(module: nn.Module, script: bool) -> Case:
    return Case(module, (torch.randint(200, (3, 11)),), (torch.randint(200, (1, 7)),), script)


def control() -> dict[str, Callable[[], Case]]:
    def x(rows: int = 3) -> torch.Tensor:
        return torch.randn(rows, 8)

    def packed(lengths: list[int]) -> tuple:
        return torch.randn(len(lengths), max(lengths), 8), torch.tensor(lengths)

    calls = {
        "named": (own_control.Named, (x(),), (x(2),)),
        "forked": (own_control.Forked, (x(),), (x(2), False)),
        "swapped": (own_control.Swapped, (x(), {"x": x()}), (x(2), {"x": x(2)})),
        "packed": (own_control.Packed, packed([5, 3, 4]), packed([2, 6])),
        "search": (own_control.Search, (torch.randn(2, 16), 9), (torch.randn(3, 16), 4)),
    }
    return {n: lambda m=m, a=a, b=b: Case(m(), a, b, True) for n, (m, a, b) in calls.items()}


SUITE: dict[str, Callable[[], Case]] = {
    "lenet5": lambda: Case(own.LeNet5(), (images(4, 1, 28, 28),), (images(1, 1, 28, 28),)),
    **resnets(),
    "recommender": recommender,
    "deep-recommender": deep_recommender,
    "next-letter": next_letter,
    "tagger-lstm": lambda: words(own.Tagger(nn.LSTM), False),
    "tagger-lstm.script": lambda: words(own.Tagger(nn.LSTM), True),
    "tagger-gru": lambda: words(own.Tagger(nn.GRU), False),
    "tagger-gru.script": lambda: words(own.Tagger(nn.GRU), True),
    "unet": lambda: Case(own.UNet(), (images(2, 3, 32, 32),), (images(1, 3, 48, 32),)),
    "unet.script": lambda: Case(own.UNet(), (images(2, 3, 32, 32),), (images(1, 3, 48, 32),), True),
    "wavenet": lambda: Case(own.WaveNet(), (torch.randn(2, 1, 64),), (torch.randn(2, 1, 40),)),
    "wavenet.script": lambda: Case(own.WaveNet(), (torch.randn(2, 1, 64),), (torch.randn(1, 1, 40),), True),
    "encoder": lambda: encoder(False),
    "encoder.script": lambda: encoder(True),
    "rotary": lambda: sequences(own_attention.Rotary()),
    "rotary.script": lambda: sequences(own_attention.Rotary(), True),
    "windows": lambda: Case(own_attention.RelativeBias(), (torch.randn(2, 8, 8, 32),), (torch.randn(1, 12, 8, 32),)),
    "windows.script": lambda: Case(
        own_attention.RelativeBias(), (torch.randn(2, 8, 8, 32),), (torch.randn(1, 12, 8, 32),), True
    ),
    **control(),
    "detector": lambda: Case(own_attention.Detector(), (images(1, 3, 64, 64),), (images(2, 3, 64, 96),)),
    "detector.script": lambda: Case(own_attention.Detector(), (images(1, 3, 64, 64),), (images(2, 3, 64, 96),), True),
}
