"""What the suites of transformers' models share: small sizes, arguments, and models that are called by position."""

import torch
from torch import Tensor, nn

from case import Case

SMALL = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)
TEXT = dict(SMALL, vocab_size=500, pad_token_id=0)
LLAMA = dict(SMALL, vocab_size=500, num_key_value_heads=2, max_position_embeddings=64)


class Plain(nn.Module):
    """A model whose output is a tuple of its tensors, called with its arguments by position."""

    def __init__(self, model: nn.Module, names: list[str], **options) -> None:
        super().__init__()
        self.model, self.names, self.options = model, names, options

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        out = self.model(**dict(zip(self.names, values)), **self.options, return_dict=False)
        out = (out,) if isinstance(out, Tensor) else out
        return tuple(v for v in out if isinstance(v, Tensor))


def words(batch: int, length: int) -> Tensor:
    return torch.randint(5, 500, (batch, length))


def mask(batch: int, length: int) -> Tensor:
    out = torch.ones(batch, length, dtype=torch.int64)
    out[-1, length - 2 :] = 0
    return out


def text(model: nn.Module, masked: bool = True, length: int = 12, **options) -> Case:
    names = ["input_ids", "attention_mask"] if masked else ["input_ids"]

    def arguments(batch: int) -> tuple[Tensor, ...]:
        return (words(batch, length), mask(batch, length))[: len(names)]

    return Case(Plain(model, names, **options), arguments(2), arguments(1))


def pixels(model: nn.Module, size: int, **options) -> Case:
    x = torch.randn(2, 3, size, size)
    return Case(Plain(model, ["pixel_values"], **options), (x,), (x[:1].clone(),))


def causal(config, model) -> Case:
    return text(model(config), use_cache=False)


def both_sides(model: nn.Module, **options) -> Case:
    """An encoder and a decoder, whose words are fewer."""
    names = ["input_ids", "attention_mask", "decoder_input_ids"]

    def arguments(batch: int) -> tuple[Tensor, ...]:
        return words(batch, 12), mask(batch, 12), words(batch, 7)

    return Case(Plain(model, names, use_cache=False, **options), arguments(2), arguments(1))


def sound(model: nn.Module, *size: int, name: str = "input_values", **options) -> Case:
    x = torch.randn(2, *size)
    return Case(Plain(model, [name], **options), (x,), (x[:1].clone(),))


def eager(config):
    config._attn_implementation = "eager"
    return config
