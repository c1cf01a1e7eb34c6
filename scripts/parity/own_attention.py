"""Attention and detection in plain torch: what transformers and one-stage detectors are made of."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Rotary(nn.Module):
    """Grouped-query attention with rotary positions, root-mean-square norms and a gated perceptron."""

    def __init__(self, width: int = 64, heads: int = 4, shared: int = 2) -> None:
        super().__init__()
        self.heads, self.shared, self.size = heads, shared, width // heads
        self.q, self.k = nn.Linear(width, width, bias=False), nn.Linear(width, shared * self.size, bias=False)
        self.v, self.o = nn.Linear(width, shared * self.size, bias=False), nn.Linear(width, width, bias=False)
        self.gate, self.up = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, 3 * width, bias=False)
        self.down = nn.Linear(3 * width, width, bias=False)
        self.norm1, self.norm2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))

    def normal(self, x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight

    def rotated(self, x: Tensor) -> Tensor:
        length, half = x.size(-2), self.size // 2
        speed = 1.0 / (10000.0 ** (torch.arange(0, half, device=x.device).float() / half))
        angle = torch.outer(torch.arange(length, device=x.device).float(), speed).to(x.dtype)
        cos, sin = torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

    def forward(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        y = self.normal(x, self.norm1)
        q = self.rotated(self.q(y).view(b, n, self.heads, self.size).transpose(1, 2))
        k = self.rotated(self.k(y).view(b, n, self.shared, self.size).transpose(1, 2))
        v = self.v(y).view(b, n, self.shared, self.size).transpose(1, 2)
        k, v = k.repeat_interleave(self.heads // self.shared, 1), v.repeat_interleave(self.heads // self.shared, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(b, n, width))
        y = self.normal(x, self.norm2)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class RelativeBias(nn.Module):
    """Attention over windows of an image, with a learnt bias for each distance; windows are shifted by rolling."""

    def __init__(self, width: int = 32, heads: int = 4, window: int = 4, shift: int = 2) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads))
        at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        apart = (at[:, :, None] - at[:, None, :]).permute(1, 2, 0) + window - 1
        self.register_buffer("index", apart[..., 0] * (2 * window - 1) + apart[..., 1])

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        n = self.window
        y = torch.roll(self.norm(x), [-self.shift, -self.shift], [1, 2])
        y = y.view(b, h // n, n, w // n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, n * n, c)
        q, k, v = self.qkv(y).view(-1, n * n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weight = (q @ k.transpose(-2, -1)) / math.sqrt(c // self.heads)
        weight = weight + self.bias[self.index.view(-1)].view(n * n, n * n, -1).permute(2, 0, 1)
        y = self.out((weight.softmax(-1) @ v).transpose(1, 2).reshape(-1, n * n, c))
        y = y.view(b, h // n, w // n, n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        return x + torch.roll(y, [self.shift, self.shift], [1, 2])


class Unit(nn.Module):
    def __init__(self, inner: int, outer: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outer)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.norm(self.conv(x)), inplace=True)


class Split(nn.Module):
    """Two branches, one through residual blocks, joined again."""

    def __init__(self, inner: int, outer: int, depth: int, residual: bool = True) -> None:
        super().__init__()
        half = outer // 2
        self.residual = residual
        self.left, self.right, self.join = Unit(inner, half, 1), Unit(inner, half, 1), Unit(outer, outer, 1)
        self.blocks = nn.ModuleList(nn.Sequential(Unit(half, half, 1), Unit(half, half)) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        y = self.left(x)
        for block in self.blocks:
            y = y + block(y) if self.residual else block(y)
        return self.join(torch.cat([y, self.right(x)], 1))


class Detector(nn.Module):
    """A one-stage detector without anchors: focus, a split backbone, a pyramid both ways, decoupled heads, decoded boxes."""

    def __init__(self, width: int = 16, classes: int = 7) -> None:
        super().__init__()
        w = width
        self.stem = Unit(12, w)
        self.stage1 = nn.Sequential(Unit(w, 2 * w, 3, 2), Split(2 * w, 2 * w, 1))
        self.stage2 = nn.Sequential(Unit(2 * w, 4 * w, 3, 2), Split(4 * w, 4 * w, 2))
        self.stage3 = nn.Sequential(Unit(4 * w, 8 * w, 3, 2), Split(8 * w, 8 * w, 2))
        self.pools = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in (5, 9, 13))
        self.gather = Unit(32 * w, 8 * w, 1)
        self.lateral, self.merge = Unit(8 * w, 4 * w, 1), Split(8 * w, 4 * w, 1, False)
        self.down, self.merge2 = Unit(4 * w, 4 * w, 3, 2), Split(8 * w, 8 * w, 1, False)
        self.strides = (8, 16)
        self.stems = nn.ModuleList(Unit(n * w, 4 * w, 1) for n in (4, 8))
        self.kinds = nn.ModuleList(nn.Sequential(Unit(4 * w, 4 * w), nn.Conv2d(4 * w, classes, 1)) for _ in range(2))
        self.boxes = nn.ModuleList(nn.Sequential(Unit(4 * w, 4 * w), nn.Conv2d(4 * w, 5, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)
        middle = self.stage2(self.stage1(self.stem(x)))
        deep = self.stage3(middle)
        deep = self.lateral(self.gather(torch.cat([deep] + [pool(deep) for pool in self.pools], 1)))
        fine = self.merge(torch.cat([F.interpolate(deep, scale_factor=2.0, mode="nearest"), middle], 1))
        coarse = self.merge2(torch.cat([self.down(fine), deep], 1))
        found = []
        for stem, kinds, boxes, level, stride in zip(self.stems, self.kinds, self.boxes, (fine, coarse), self.strides):
            y = stem(level)
            box = boxes(y)
            h, w = y.shape[-2:]
            rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = torch.stack([columns, rows], 2).view(1, -1, 2).to(x.dtype)
            all = torch.cat([box[:, :4], box[:, 4:].sigmoid(), kinds(y).sigmoid()], 1).flatten(2).transpose(1, 2)
            centre = (all[..., :2] + grid) * stride
            found.append(torch.cat([centre, all[..., 2:4].exp() * stride, all[..., 4:]], -1))
        return torch.cat(found, 1)
