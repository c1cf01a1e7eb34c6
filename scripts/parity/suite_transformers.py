"""transformers' models from small configurations, traced."""

from typing import Callable

import torch
import transformers as hf

import transformers_text
import transformers_vision
from case import Case
from transformers_case import LLAMA, SMALL, Plain, causal, eager, mask, pixels, text, words


def clip() -> Case:
    small = dict(SMALL)
    config = hf.CLIPConfig(
        text_config=dict(small, vocab_size=500, max_position_embeddings=32, eos_token_id=4, bos_token_id=3, pad_token_id=1),
        vision_config=dict(small, image_size=32, patch_size=8),
        projection_dim=32,
    )
    names = ["input_ids", "pixel_values", "attention_mask"]
    ids = words(2, 12)
    return Case(Plain(hf.CLIPModel(config), names), (ids, torch.randn(2, 3, 32, 32), mask(2, 12)))


def whisper() -> Case:
    config = hf.WhisperConfig(
        vocab_size=500, num_mel_bins=16, encoder_layers=2, encoder_attention_heads=4, decoder_layers=1,
        decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, d_model=64, max_source_positions=50,
        max_target_positions=32, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
    encoder = hf.WhisperModel(config).encoder
    x = torch.randn(2, 16, 100)
    return Case(Plain(encoder, ["input_features"]), (x,), (x[:1].clone(),))


def t5() -> Case:
    config = hf.T5Config(vocab_size=500, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4)
    return text(hf.T5EncoderModel(config))


SUITE: dict[str, Callable[[], Case]] = {
    **transformers_text.SUITE,
    **transformers_vision.SUITE,
    "hf-bert": lambda: text(hf.BertModel(hf.BertConfig(vocab_size=500, **SMALL))),
    "hf-bert-eager": lambda: text(hf.BertModel(eager(hf.BertConfig(vocab_size=500, **SMALL)))),
    "hf-roberta": lambda: text(hf.RobertaModel(hf.RobertaConfig(vocab_size=500, **SMALL))),
    "hf-distilbert": lambda: text(
        hf.DistilBertModel(hf.DistilBertConfig(vocab_size=500, dim=64, n_layers=2, n_heads=4, hidden_dim=128))),
    "hf-electra": lambda: text(hf.ElectraModel(hf.ElectraConfig(vocab_size=500, embedding_size=32, **SMALL))),
    "hf-albert": lambda: text(hf.AlbertModel(hf.AlbertConfig(vocab_size=500, embedding_size=32, **SMALL))),
    "hf-mpnet": lambda: text(hf.MPNetModel(hf.MPNetConfig(vocab_size=500, **SMALL))),
    "hf-gpt2": lambda: causal(
        hf.GPT2Config(vocab_size=500, n_embd=64, n_layer=2, n_head=4, n_positions=64), hf.GPT2Model),
    "hf-gpt-neox": lambda: causal(hf.GPTNeoXConfig(max_position_embeddings=64, vocab_size=500, **SMALL), hf.GPTNeoXModel),
    "hf-opt": lambda: causal(
        hf.OPTConfig(vocab_size=500, hidden_size=64, num_hidden_layers=2, ffn_dim=128, num_attention_heads=4,
                     max_position_embeddings=64, word_embed_proj_dim=64), hf.OPTModel),
    "hf-llama": lambda: causal(hf.LlamaConfig(**LLAMA), hf.LlamaModel),
    "hf-llama-eager": lambda: causal(eager(hf.LlamaConfig(**LLAMA)), hf.LlamaModel),
    "hf-mistral": lambda: causal(hf.MistralConfig(sliding_window=8, **LLAMA), hf.MistralModel),
    "hf-qwen2": lambda: causal(hf.Qwen2Config(**LLAMA), hf.Qwen2Model),
    "hf-gemma": lambda: causal(hf.GemmaConfig(head_dim=16, **LLAMA), hf.GemmaModel),
    "hf-phi": lambda: causal(hf.PhiConfig(**LLAMA), hf.PhiModel),
    "hf-t5-encoder": t5,
    "hf-vit": lambda: pixels(hf.ViTModel(hf.ViTConfig(image_size=32, patch_size=8, **SMALL)), 32),
    "hf-deit": lambda: pixels(hf.DeiTModel(hf.DeiTConfig(image_size=32, patch_size=8, **SMALL)), 32),
    "hf-dinov2": lambda: pixels(
        hf.Dinov2Model(hf.Dinov2Config(image_size=32, patch_size=8, hidden_size=64, num_hidden_layers=2,
                                       num_attention_heads=4)), 32),
    "hf-swin": lambda: pixels(
        hf.SwinModel(hf.SwinConfig(image_size=32, patch_size=2, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4)), 32),
    "hf-segformer": lambda: pixels(
        hf.SegformerModel(hf.SegformerConfig(hidden_sizes=[16, 32, 40, 64], depths=[1, 1, 1, 1])), 64),
    "hf-clip": clip,
    "hf-whisper-encoder": whisper,
    "hf-wav2vec2": lambda: Case(
        Plain(hf.Wav2Vec2Model(hf.Wav2Vec2Config(vocab_size=500, conv_dim=(32, 32, 32), conv_stride=(5, 2, 2), conv_kernel=(10, 3, 3),
                                                 num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, **SMALL)),
              ["input_values"]), (torch.randn(2, 800),), (torch.randn(1, 800),)),
}
