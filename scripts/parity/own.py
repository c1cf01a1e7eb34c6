"""Small networks of every kind, in plain torch: the part of the suite that needs no other package."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn



class LeNet5(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.hidden, self.classes = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.first(x).tanh(), 2)
        x = F.max_pool2d(self.second(x).tanh(), 2)
        return F.softmax(self.classes(self.hidden(x.flatten(1)).tanh()), 1)


class Residual(nn.Module):
    """A block of a residual network for small images; `pre` normalises before each convolution."""

    def __init__(self, inner: int, outer: int, stride: int, pre: bool) -> None:
        super().__init__()
        self.pre = pre
        self.norm1, self.norm2 = nn.BatchNorm2d(inner if pre else outer), nn.BatchNorm2d(outer)
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inner != outer:
            layers: list[nn.Module] = [nn.Conv2d(inner, outer, 1, stride, bias=False)]
            self.short = nn.Sequential(*layers, *([] if pre else [nn.BatchNorm2d(outer)]))

    def forward(self, x: Tensor) -> Tensor:
        if self.pre:
            y = F.relu(self.norm1(x))
            return self.conv2(F.relu(self.norm2(self.conv1(y)))) + self.short(y)
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.short(x))


class Bottleneck(nn.Module):
    """A block of an aggregated residual network: a grouped convolution between two 1x1 ones."""

    def __init__(self, inner: int, outer: int, stride: int, groups: int) -> None:
        super().__init__()
        width = outer // 2
        self.body = nn.Sequential(
            nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, outer, 1, bias=False), nn.BatchNorm2d(outer))
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inner != outer:
            self.short = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.short(x))


class SmallImages(nn.Module):
    """A residual network for 32x32 images: three stages of `depth` blocks."""

    def __init__(self, block, widths: tuple[int, ...], depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        inner = 16
        for stage, outer in enumerate(widths):
            for at in range(depth):
                layers.append(block(inner, outer, 2 if stage and not at else 1))
                inner = outer
        self.body, self.classes = nn.Sequential(*layers), nn.Linear(inner, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.body(x).mean((2, 3)))


class Recommender(nn.Module):
    """Embeddings of a user and of candidates, a perceptron, and the best candidates."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(500, 32), nn.Embedding(300, 32)
        sizes = [64, 256, 128, 64]
        layers = [m for a, b in zip(sizes, sizes[1:]) for m in (nn.Linear(a, b), nn.ReLU())]
        self.score = nn.Sequential(*layers, nn.Linear(64, 1))

    def forward(self, user: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        both = torch.cat([self.users(user), self.items(items)], -1)
        score = torch.sigmoid(self.score(both)).squeeze(-1)
        best, which = torch.topk(score, 10, -1)
        return score, best, which


class DeepRecommender(nn.Module):
    """Dense and categorical features, their dot products with each other, a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.bags = nn.ModuleList(nn.EmbeddingBag(n, 16, mode="sum") for n in (100, 50, 30))
        self.bottom = nn.Sequential(nn.Linear(13, 64), nn.ReLU(), nn.Linear(64, 16), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(22, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid())

    def forward(self, dense: Tensor, categories: list[Tensor]) -> Tensor:
        x = self.bottom(dense)
        rows = [x]
        for at, bag in enumerate(self.bags):
            rows.append(bag(categories[at]))
        features = torch.stack(rows, 1)
        products = torch.bmm(features, features.transpose(1, 2))
        lower = torch.tril_indices(features.size(1), features.size(1), -1)
        return self.top(torch.cat([x, products[:, lower[0], lower[1]]], 1))


class NextLetter(nn.Module):
    """One step of a character model: two LSTM layers, and the likeliest next letter."""

    def __init__(self) -> None:
        super().__init__()
        self.letters, self.memory = nn.Embedding(65, 128), nn.LSTM(128, 128, 2)
        self.classes = nn.Linear(128, 65)

    def forward(self, letter: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h, c) = self.memory(self.letters(letter), (h, c))
        return torch.topk(self.classes(y), 1, -1)[1], h, c


class Tagger(nn.Module):
    """A bidirectional recurrent network that names each word of a sentence."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.words = nn.Embedding(200, 32, padding_idx=0)
        self.memory = kind(32, 24, num_layers=2, batch_first=True, bidirectional=True)
        self.tags = nn.Linear(48, 12)

    def forward(self, words: Tensor) -> Tensor:
        return F.log_softmax(self.tags(self.memory(self.words(words))[0]), -1)


class UNet(nn.Module):
    """Down, up, and across: skip connections over transposed convolutions."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down1, self.down2 = self.twice(3, width), self.twice(width, 2 * width)
        self.middle = self.twice(2 * width, 4 * width)
        self.grow2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.up2 = self.twice(4 * width, 2 * width)
        self.grow1 = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.up1, self.classes = self.twice(2 * width, width), nn.Conv2d(width, 5, 1)

    @staticmethod
    def twice(inner: int, outer: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inner, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(inplace=True),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.middle(F.max_pool2d(b, 2))
        b = self.up2(torch.cat([b, self.grow2(c)], 1))
        return self.classes(self.up1(torch.cat([a, self.grow1(b)], 1)))


class WaveNet(nn.Module):
    """Dilated causal convolutions with gates and skips over a waveform."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.dilations = (1, 2, 4, 8, 1, 2, 4, 8)
        self.first = nn.Conv1d(1, width, 1)
        self.gates = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=d) for d in self.dilations)
        self.residuals = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in self.dilations)
        self.skips = nn.ModuleList(nn.Conv1d(width, 32, 1) for _ in self.dilations)
        self.last = nn.Sequential(nn.ReLU(), nn.Conv1d(32, 32, 1), nn.ReLU(), nn.Conv1d(32, 64, 1))

    def forward(self, wave: Tensor) -> Tensor:
        x = self.first(wave)
        total = torch.zeros([x.size(0), 32, x.size(2)])
        for dilation, gate, residual, skip in zip(self.dilations, self.gates, self.residuals, self.skips):
            a, b = gate(F.pad(x, [dilation, 0])).chunk(2, 1)
            y = torch.tanh(a) * torch.sigmoid(b)
            total = total + skip(y)
            x = x + residual(y)
        return self.last(total)
