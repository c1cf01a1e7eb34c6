"""YOLOX-M (Ge et al., 2021): CSP backbone, feature pyramid, decoupled heads, and boxes in pixels of the image."""

import torch
from torch import nn


def unit(before, after, kernel=1, stride=1):
    convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after, eps=1e-3), nn.SiLU())


class Bottleneck(nn.Module):
    def __init__(self, channels, shortcut):
        super().__init__()
        self.body, self.shortcut = nn.Sequential(unit(channels, channels), unit(channels, channels, 3)), shortcut

    def forward(self, x):
        return self.body(x) + x if self.shortcut else self.body(x)


class CrossStage(nn.Module):
    """Half of the channels go through bottlenecks, half around them."""

    def __init__(self, before, after, depth, shortcut=True):
        super().__init__()
        half = after // 2
        self.through, self.around = unit(before, half), unit(before, half)
        self.body = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(depth)))
        self.joined = unit(after, after)

    def forward(self, x):
        return self.joined(torch.cat([self.body(self.through(x)), self.around(x)], 1))


class Pyramid(nn.Module):
    """Pools of several sizes side by side."""

    def __init__(self, channels):
        super().__init__()
        self.first, self.last = unit(channels, channels // 2), unit(channels * 2, channels)
        self.pools = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in (5, 9, 13))

    def forward(self, x):
        x = self.first(x)
        return self.last(torch.cat([x] + [pool(x) for pool in self.pools], 1))


class Head(nn.Module):
    def __init__(self, channels, classes, width):
        super().__init__()
        self.stem = unit(channels, width)
        self.of_class = nn.Sequential(unit(width, width, 3), unit(width, width, 3))
        self.of_box = nn.Sequential(unit(width, width, 3), unit(width, width, 3))
        self.classes, self.box, self.object = nn.Conv2d(width, classes, 1), nn.Conv2d(width, 4, 1), nn.Conv2d(width, 1, 1)

    def forward(self, x):
        x = self.stem(x)
        boxes, classes = self.of_box(x), self.classes(self.of_class(x))
        return torch.cat([self.box(boxes), self.object(boxes).sigmoid(), classes.sigmoid()], 1)


class YoloxM(nn.Module):
    """`[n, 3, h, w]` to `[n, anchors, 5 + classes]`: centres and sizes in pixels, how sure there is an object, and of which class."""

    STRIDES = (8, 16, 32)

    def __init__(self, classes=80, width=0.75, depth=2):
        super().__init__()
        a, b, c, d, e = (int(n * width) for n in (64, 128, 256, 512, 1024))
        self.stem = unit(12, a, 3)
        self.dark2 = nn.Sequential(unit(a, b, 3, 2), CrossStage(b, b, depth))
        self.dark3 = nn.Sequential(unit(b, c, 3, 2), CrossStage(c, c, 3 * depth))
        self.dark4 = nn.Sequential(unit(c, d, 3, 2), CrossStage(d, d, 3 * depth))
        self.dark5 = nn.Sequential(unit(d, e, 3, 2), Pyramid(e), CrossStage(e, e, depth, False))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.lateral5, self.merged4 = unit(e, d), CrossStage(2 * d, d, depth, False)
        self.lateral4, self.merged3 = unit(d, c), CrossStage(2 * c, c, depth, False)
        self.down3, self.out4 = unit(c, c, 3, 2), CrossStage(2 * c, d, depth, False)
        self.down4, self.out5 = unit(d, d, 3, 2), CrossStage(2 * d, e, depth, False)
        self.heads = nn.ModuleList(Head(n, classes, c) for n in (c, d, e))

    def forward(self, image):
        # Every other pixel of a row and a column is a channel.
        x = torch.cat([image[..., ::2, ::2], image[..., 1::2, ::2], image[..., ::2, 1::2], image[..., 1::2, 1::2]], 1)
        c3 = self.dark3(self.dark2(self.stem(x)))
        c4 = self.dark4(c3)
        p5 = self.lateral5(self.dark5(c4))
        p4 = self.lateral4(self.merged4(torch.cat([self.up(p5), c4], 1)))
        p3 = self.merged3(torch.cat([self.up(p4), c3], 1))
        p4 = self.out4(torch.cat([self.down3(p3), p4], 1))
        p5 = self.out5(torch.cat([self.down4(p4), p5], 1))
        return torch.cat([self.boxes(h(p), s) for h, p, s in zip(self.heads, (p3, p4, p5), self.STRIDES)], 1)

    def boxes(self, found, stride: int):
        rows, columns = torch.meshgrid(
            torch.arange(found.shape[2], device=found.device, dtype=found.dtype),
            torch.arange(found.shape[3], device=found.device, dtype=found.dtype),
            indexing="ij",
        )
        places = torch.stack([columns, rows], 2).reshape(1, -1, 2)
        found = found.flatten(2).transpose(1, 2)
        return torch.cat([(found[..., :2] + places) * stride, found[..., 2:4].exp() * stride, found[..., 4:]], -1)
