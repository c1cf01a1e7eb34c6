"""Modules of torch's own: `make FOLDER` traces and scripts them, else those of the folder with engines are checked."""

import copy
from typing import Tuple

import torch
from torch import nn


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        )
        self.skip = nn.Conv2d(3, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.body(x) + self.skip(x))
        return self.head(x.mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(6, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        y, _ = self.cells(x)
        return torch.log_softmax(self.head(y), -1)


class Counting(nn.Module):
    """State that a method changes, constants in the code, a branch on the rank."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.layer = nn.Linear(100, 100)
        self.n = 0

    def forward(self, x):
        self.n += 1
        self.calls.add_(1)
        y = torch.tanh(self.layer(x)) * torch.sigmoid(x)
        if x.dim() == 3:
            y = y.mean(0)
        return y


class Constants(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(100, 100)

    def forward(self, x):
        return torch.relu(self.layer(x) + torch.linspace(-1, 1, 100)) * torch.ones(3, 100)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return torch.relu(self.layer(x))


class Nested(nn.Module):
    """Calls past a submodule, and layers of one type and one name in several places."""

    def __init__(self):
        super().__init__()
        self.first = Block()
        self.second = Block()
        self.layer = nn.Linear(8, 8)
        self.more = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])

    def forward(self, x):
        x = torch.tanh(self.first.layer(x))
        x = torch.sigmoid(self.layer(x))
        for layer in self.more:
            x = layer(x)
        return self.second(x)


class Surrounded(nn.Module):
    """Casts of its own, hooks around it, and a file beside it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = self.layer(nn.functional.gelu(self.layer(x)))
        return x


def doubled(self, given: Tuple[torch.Tensor]) -> Tuple[torch.Tensor]:
    return (given[0] * 2,)


def tenfold(self, given: Tuple[torch.Tensor], result: torch.Tensor) -> torch.Tensor:
    return result * 10


INPUTS = {
    "convolutions": torch.randn(2, 3, 12, 12),
    "recurrent": torch.randn(2, 7, 6),
    "counting": torch.randn(3, 100),
    "constants": torch.randn(3, 100),
    "nested": torch.randn(3, 8),
}


def make(folder):
    torch.manual_seed(0)
    net = Convolutions()
    net(torch.randn(16, 3, 12, 12))
    torch.jit.script(net).save(f"{folder}/convolutions.pt")
    torch.jit.script(Recurrent()).save(f"{folder}/recurrent.pt")
    torch.jit.script(Counting()).save(f"{folder}/counting.pt")
    torch.jit.script(Nested()).save(f"{folder}/nested.pt")
    net = Surrounded()
    net.register_forward_pre_hook(doubled)
    net.register_forward_hook(tenfold)
    torch.jit.save(torch.jit.script(net), f"{folder}/surrounded.pt", _extra_files={"labels.txt": "a,b"})
    torch.jit.trace(Nested().eval(), INPUTS["nested"]).save(f"{folder}/traced.pt")
    torch.jit.trace(Constants().eval(), INPUTS["constants"]).save(f"{folder}/constants.pt")


def check(folder):
    from check import agrees, engines, load, same, served

    for name, x in INPUTS.items():
        model = load(f"{folder}/{name}.trt.pt")
        original = torch.jit.load(f"{folder}/{name}.pt").eval()
        assert torch.ops.trt.build(model) == len(engines(model)) > 0, name
        with torch.no_grad():
            for _ in range(3):
                same(model(x), original(x))
        assert served(model) >= 3, torch.ops.trt.report(model)
        assert model.state_dict().keys() == original.state_dict().keys()
        if name == "counting":
            assert model.n == 3 and float(model.calls) == 3.0, (model.n, model.calls)
            with torch.no_grad():
                same(model(x[None]), original(x[None]))
            continue
        # In training mode the host serves: the folded flags do not hold, statistics move, gradients flow.
        before = served(model)
        for m in (model, original):
            m.train()
            torch.manual_seed(1)
            m.zero_grad()
            m(x).sum().backward()
            m.eval()
        assert served(model) == before
        for (key, a), (_, b) in zip(model.named_parameters(), original.named_parameters()):
            same([a.grad], [b.grad])
        with torch.no_grad():
            same(model(x), original(x))
            assert served(model) > before, torch.ops.trt.report(model)
            # Half of the weights away: the answers follow at once.
            for m in (model, original):
                for p in m.parameters():
                    p.mul_(0.5)
            same(model(x), original(x))
            other = copy.deepcopy(model)
            torch.ops.trt.build(other)
            same(other(x), original(x))
            assert served(other) > 0
            # Another element type is the host's.
            same(model.double()(x.double()), original.double()(x.double()))
    # What surrounds a network stays with it.
    extra, x = {"labels.txt": ""}, torch.randn(4, 64)
    model = torch.jit.load(f"{folder}/surrounded.trt.pt", _extra_files=extra).eval()
    original = torch.jit.load(f"{folder}/surrounded.pt").eval()
    assert extra["labels.txt"] == b"a,b", extra
    torch.ops.trt.build(model)
    with torch.no_grad():
        got, want = model(x), original(x)
    assert served(model) > 0 and got.dtype == want.dtype == torch.bfloat16, torch.ops.trt.report(model)
    assert (got - want).abs().max() <= 0.02 * want.abs().max(), (got, want)
    # Freezing keeps the answers, whoever serves.
    model = load(f"{folder}/convolutions.trt.pt")
    with torch.no_grad():
        frozen = torch.jit.freeze(model)
        x = INPUTS["convolutions"]
        for _ in range(3):
            same(frozen(x), model(x))


if __name__ == "__main__":
    import sys

    make(sys.argv[3]) if sys.argv[2] == "make" else check(sys.argv[2])
