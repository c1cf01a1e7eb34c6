"""What only TorchScript made in Python can hold: named tuples, classes, enumerations, interfaces, futures, ignored code."""

from enum import Enum
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn


class Found(NamedTuple):
    boxes: Tensor
    score: Tensor
    count: int


class Mode(Enum):
    SUM = 1
    MEAN = 2


@torch.jit.interface
class Scaler(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pass


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) * 2.0 + 1.0


@torch.jit.script
class Total:
    def __init__(self, start: Tensor) -> None:
        self.value = start
        self.steps = 0

    def add(self, x: Tensor) -> None:
        self.value = self.value + torch.tanh(x) * 0.5
        self.steps += 1


class Named(nn.Module):
    """A named tuple and an enumeration as values, a class with state inside."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 4)
        self.mode = Mode.MEAN

    def found(self, x: Tensor) -> Found:
        y = self.second(torch.relu(self.first(x)))
        score = y.sum(-1) if self.mode == Mode.SUM else y.mean(-1)
        return Found(y, torch.sigmoid(score), y.size(0))

    def forward(self, x: Tensor) -> Tuple[Found, Tensor, int]:
        total = Total(x)
        for _ in range(x.size(0)):
            total.add(x)
        found = self.found(total.value)
        return found, found.score * 2.0 + 1.0, total.steps


class Forked(nn.Module):
    """Two halves as tasks, and code that TorchScript replaces by an error where it is not reached."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(8, 8), nn.Linear(8, 8)

    @torch.jit.unused
    def python_only(self, x: Tensor) -> Tensor:
        return x.numpy()

    def half(self, x: Tensor) -> Tensor:
        return torch.relu(self.left(torch.tanh(x) * 2.0))

    def forward(self, x: Tensor, python: bool = False) -> Tensor:
        if python:
            return self.python_only(x)
        task = torch.jit.fork(self.half, x)
        y = torch.sigmoid(self.right(x)) * 2.0 - 1.0
        return y + torch.jit.wait(task) * y


class Swapped(nn.Module):
    """A submodule behind an interface, module lists and dicts, a module used twice."""

    scaler: Scaler

    def __init__(self) -> None:
        super().__init__()
        self.scaler = Twice()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.named = nn.ModuleDict({"relu": nn.ReLU(), "gelu": nn.GELU()})
        self.shared = nn.Linear(8, 8)

    def forward(self, x: Tensor, extra: Optional[Dict[str, Tensor]] = None) -> Dict[str, Tensor]:
        out: Dict[str, Tensor] = {}
        for layer in self.layers:
            x = self.shared(torch.relu(layer(x))) + x
        for name, layer in self.named.items():
            out[name] = layer(self.scaler(x))
        if extra is not None:
            out["extra"] = self.shared(extra["x"]) * out["relu"]
        return out


class Packed(nn.Module):
    """A packed sequence through a recurrent network."""

    def __init__(self) -> None:
        super().__init__()
        self.memory, self.out = nn.LSTM(8, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = nn.utils.rnn.pad_packed_sequence(self.memory(packed)[0], batch_first=True)
        return torch.log_softmax(self.out(torch.tanh(y) * 2.0), -1)


class Search(nn.Module):
    """Greedy decoding with early ends: break, continue, return, a list that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.letters, self.out = nn.GRUCell(8, 16), nn.Embedding(20, 8), nn.Linear(16, 20)

    def forward(self, h: Tensor, limit: int) -> Tuple[Tensor, List[Tensor]]:
        letter = torch.zeros([h.size(0)], dtype=torch.int64)
        states: List[Tensor] = []
        for step in range(limit):
            h = self.cell(self.letters(letter), h)
            scores = torch.log_softmax(self.out(torch.tanh(h)), -1)
            letter = scores.argmax(-1)
            if step == 0:
                continue
            states.append(h)
            if bool((letter == 7).all()):
                return h, states
            if len(states) > 5:
                break
        return torch.tanh(h) * 2.0, states
