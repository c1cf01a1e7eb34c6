"""The networks that are timed, with random weights, and their inputs. `NETWORKS` maps a name to a function that gives both."""

import torch
import torch.nn.functional as F
from torch import nn


class LeNet5(nn.Module):
    """20 and 50 channels, 500 features, tanh."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.hidden, self.scores = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, image):
        x = F.max_pool2d(torch.tanh(self.first(image)), 2)
        x = F.max_pool2d(torch.tanh(self.second(x)), 2)
        return torch.softmax(self.scores(torch.tanh(self.hidden(x.flatten(1)))), 1)


class Residual(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        straight = stride == 1 and channels == width
        shortcut = nn.Conv2d(channels, width, 1, stride, bias=False)
        self.shortcut = nn.Identity() if straight else nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


class CifarResNet(nn.Module):
    """He et al. 2015, section 4.2, of 6n + 2 layers, with projections."""

    def __init__(self, depth):
        super().__init__()
        layers, channels = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
        for width in (16, 32, 64):
            for at in range((depth - 2) // 6):
                layers.append(Residual(channels, width, 2 if at == 0 and width > 16 else 1))
                channels = width
        self.body, self.scores = nn.Sequential(*layers), nn.Linear(channels, 10)

    def forward(self, image):
        return self.scores(self.body(image).mean((2, 3)))


class PreActivated(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
        )
        straight = stride == 1 and channels == width
        self.shortcut = None if straight else nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x):
        y = self.first(x)
        return self.body(y) + (x if self.shortcut is None else self.shortcut(y))


class WideResNet(nn.Module):
    """Zagoruyko and Komodakis 2016, of 6n + 4 layers."""

    def __init__(self, depth, widen):
        super().__init__()
        layers, channels = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)], 16
        for width in (16 * widen, 32 * widen, 64 * widen):
            for at in range((depth - 4) // 6):
                layers.append(PreActivated(channels, width, 2 if at == 0 and width > 16 * widen else 1))
                channels = width
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU())
        self.scores = nn.Linear(channels, 10)

    def forward(self, image):
        return self.scores(self.body(image).mean((2, 3)))


class Bert(nn.Module):
    """BERT-base without its pooler."""

    def __init__(self):
        super().__init__()
        from transformers import BertConfig, BertModel

        self.model = BertModel(BertConfig(), add_pooling_layer=False)

    def forward(self, words):
        return self.model(words, return_dict=False)[0]


class Photographs(nn.Module):
    """Photographs as cameras give them, the five likeliest classes out: ResNet-50 with what a program does around it."""

    def __init__(self):
        super().__init__()
        import torchvision.models as models

        self.model = models.resnet50(weights=None)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, images):
        images = images.permute(0, 3, 1, 2).to(self.mean.dtype) / 255
        scores = self.model((images - self.mean) / self.deviation)
        return torch.topk(scores.softmax(1), 5, 1)


class Recommender(nn.Module):
    """Embeddings of users and items, a perceptron on both, the ten best of each user's candidates."""

    def __init__(self, users=6040, items=3706, size=32):
        super().__init__()
        self.users, self.items = nn.Embedding(users, size), nn.Embedding(items, size)
        sizes = [2 * size, 256, 128, 64]
        layers = [part for a, b in zip(sizes, sizes[1:]) for part in (nn.Linear(a, b), nn.ReLU())]
        self.rate = nn.Sequential(*layers, nn.Linear(64, 1))

    def forward(self, users, items):
        pairs = torch.cat([self.users(users), self.items(items)], -1)
        scores, best = torch.topk(torch.sigmoid(self.rate(pairs)).squeeze(-1), 10, -1)
        return scores, best


class CharacterStep(nn.Module):
    """One step of a character model: two LSTM layers of 512, the likeliest of 65 characters."""

    def __init__(self, characters=65, size=512):
        super().__init__()
        self.embed, self.cells = nn.Embedding(characters, size), nn.LSTM(size, size, 2)
        self.scores = nn.Linear(size, characters)

    def forward(self, character, hidden, cell):
        y, (hidden, cell) = self.cells(self.embed(character), (hidden, cell))
        return torch.topk(self.scores(y), 1, -1)[1], hidden, cell


def image(batch, channels, size):
    return (torch.randn(batch, channels, size, size),)


def yolox():
    from yolox import YoloxM

    return YoloxM(), image(1, 3, 640)


def vision(name, batch):
    import torchvision.models as models

    more = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    made = getattr(models, name)(weights=None, **more)
    if name.startswith("vit"):  # Zero otherwise, and so would every score be.
        nn.init.normal_(made.heads.head.weight, std=0.02)
    return made, image(batch, 3, 224)


def recommender():
    users, items = torch.randint(0, 6040, (32, 1)).expand(32, 100), torch.randint(0, 3706, (32, 100))
    return Recommender(), (users.contiguous(), items)


def character():
    state = torch.zeros(2, 1, 512)
    return CharacterStep(), (torch.tensor([[7]]), state, state.clone())


NETWORKS = {
    "lenet5 b1": lambda: (LeNet5(), image(1, 1, 28)),
    "lenet5 b64": lambda: (LeNet5(), image(64, 1, 28)),
    "cifar-resnet20 b16": lambda: (CifarResNet(20), image(16, 3, 32)),
    "cifar-resnet56 b16": lambda: (CifarResNet(56), image(16, 3, 32)),
    "cifar-resnet110 b16": lambda: (CifarResNet(110), image(16, 3, 32)),
    "resnet18 b1": lambda: vision("resnet18", 1),
    "resnet50 b1": lambda: vision("resnet50", 1),
    "resnet50 b16": lambda: vision("resnet50", 16),
    "googlenet b1": lambda: vision("googlenet", 1),
    "vit-b-16 b1": lambda: vision("vit_b_16", 1),
    "recommender 32 users": recommender,
    "character step": character,
}

# On a GPU these too, and each in f32 and f16.
MORE_ON_A_GPU = {
    "lenet5 b256": lambda: (LeNet5(), image(256, 1, 28)),
    "wrn28-10 b16": lambda: (WideResNet(28, 10), image(16, 3, 32)),
    "resnet50 b128": lambda: vision("resnet50", 128),
    "googlenet b128": lambda: vision("googlenet", 128),
    "vit-b-16 b32": lambda: vision("vit_b_16", 32),
    "bert b1": lambda: (Bert(), (torch.randint(0, 30000, (1, 128)),)),
    "resnet50 b128 pipeline": lambda: (Photographs(), (torch.randint(0, 256, (128, 224, 224, 3), dtype=torch.uint8),)),
    "yolox-m b1": yolox,
    "bert b32": lambda: (Bert(), (torch.randint(0, 30000, (32, 128)),)),
}

# Sizes that a benchmark goes through: what changes, and the network at each.
SWEEPS = {
    "CIFAR ResNet-20, batch": {b: f"cifar-resnet20 b{b}" for b in (1, 2, 4, 8, 16, 32, 64)},
    "ResNet-18, batch": {b: f"resnet18 b{b}" for b in (1, 2, 4, 8, 16)},
    "CIFAR ResNet at batch 16, layers": {d: f"cifar-resnet{d} b16" for d in (20, 32, 44, 56, 110)},
}

# The networks of these that are not timed elsewhere.
OF_SWEEPS = {
    **{f"cifar-resnet20 b{b}": lambda b=b: (CifarResNet(20), image(b, 3, 32)) for b in (1, 2, 4, 8, 32, 64)},
    **{f"resnet18 b{b}": lambda b=b: vision("resnet18", b) for b in (2, 4, 8, 16)},
    **{f"cifar-resnet{d} b16": lambda d=d: (CifarResNet(d), image(16, 3, 32)) for d in (32, 44)},
}
