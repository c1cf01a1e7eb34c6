"""Language models from small configurations: encoders, decoders, both, and those without attention."""

from typing import Callable

import transformers as hf

from case import Case
from transformers_case import LLAMA, SMALL, TEXT, both_sides, causal, eager, text

SIDES = dict(vocab_size=500, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
             encoder_ffn_dim=128, decoder_ffn_dim=128, max_position_embeddings=64)

SUITE: dict[str, Callable[[], Case]] = {
    "hf-t5": lambda: both_sides(hf.T5Model(hf.T5Config(vocab_size=500, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4))),
    "hf-umt5-gated": lambda: both_sides(hf.UMT5Model(
        hf.UMT5Config(vocab_size=500, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"))),
    "hf-bart": lambda: both_sides(hf.BartModel(hf.BartConfig(**SIDES))),
    "hf-mbart": lambda: both_sides(hf.MBartModel(hf.MBartConfig(**SIDES))),
    "hf-pegasus": lambda: both_sides(hf.PegasusModel(hf.PegasusConfig(**SIDES))),
    "hf-marian": lambda: both_sides(hf.MarianModel(hf.MarianConfig(**SIDES, pad_token_id=0))),
    "hf-blenderbot": lambda: both_sides(hf.BlenderbotModel(hf.BlenderbotConfig(**SIDES))),
    "hf-prophetnet": lambda: both_sides(hf.ProphetNetModel(hf.ProphetNetConfig(
        vocab_size=500, hidden_size=64, num_encoder_layers=1, num_decoder_layers=1, num_encoder_attention_heads=4,
        num_decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, max_position_embeddings=64))),
    "hf-led": lambda: both_sides(hf.LEDModel(hf.LEDConfig(
        vocab_size=500, d_model=64, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=128, decoder_ffn_dim=128, attention_window=4, max_encoder_position_embeddings=64))),
    "hf-deberta": lambda: text(hf.DebertaModel(hf.DebertaConfig(
        relative_attention=True, pos_att_type=["c2p", "p2c"], max_position_embeddings=64, **TEXT))),
    "hf-deberta-v2": lambda: text(hf.DebertaV2Model(hf.DebertaV2Config(
        relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=8, max_position_embeddings=64, share_att_key=True,
        conv_kernel_size=3, **TEXT))),
    "hf-longformer": lambda: text(hf.LongformerModel(hf.LongformerConfig(attention_window=4, **dict(TEXT, pad_token_id=1)))),
    "hf-big-bird": lambda: text(hf.BigBirdModel(hf.BigBirdConfig(attention_type="original_full", **TEXT))),
    "hf-big-bird-sparse": lambda: text(hf.BigBirdModel(hf.BigBirdConfig(block_size=2, num_random_blocks=1, **TEXT)), length=32),
    "hf-xlnet": lambda: text(hf.XLNetModel(hf.XLNetConfig(vocab_size=500, d_model=64, n_layer=2, n_head=4, d_inner=128))),
    "hf-xlm": lambda: text(hf.XLMModel(hf.XLMConfig(vocab_size=500, emb_dim=64, n_layers=2, n_heads=4))),
    "hf-funnel": lambda: text(hf.FunnelModel(hf.FunnelConfig(
        vocab_size=500, block_sizes=[1, 1], d_model=64, n_head=4, d_head=16, d_inner=128))),
    "hf-mobilebert": lambda: text(hf.MobileBertModel(hf.MobileBertConfig(
        embedding_size=32, intra_bottleneck_size=32, num_feedforward_networks=2, **TEXT))),
    "hf-squeezebert": lambda: text(hf.SqueezeBertModel(hf.SqueezeBertConfig(embedding_size=64, **TEXT))),
    "hf-convbert": lambda: text(hf.ConvBertModel(hf.ConvBertConfig(embedding_size=64, **TEXT))),
    "hf-fnet": lambda: text(hf.FNetModel(hf.FNetConfig(**TEXT)), masked=False),
    "hf-ibert": lambda: text(hf.IBertModel(hf.IBertConfig(**dict(TEXT, pad_token_id=1)))),
    "hf-roformer": lambda: text(hf.RoFormerModel(hf.RoFormerConfig(embedding_size=64, **TEXT))),
    "hf-esm": lambda: text(hf.EsmModel(hf.EsmConfig(position_embedding_type="rotary", mask_token_id=3, **dict(TEXT, pad_token_id=1)))),
    "hf-modernbert": lambda: text(hf.ModernBertModel(hf.ModernBertConfig(
        local_attention=4, global_attn_every_n_layers=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, cls_token_id=1,
        sep_token_id=2, **TEXT))),
    "hf-canine": lambda: text(hf.CanineModel(hf.CanineConfig(
        num_hash_buckets=64, local_transformer_stride=16, max_position_embeddings=64, downsampling_rate=4, upsampling_kernel_size=4,
        **SMALL)), length=32),
    "hf-layoutlm": lambda: text(hf.LayoutLMModel(hf.LayoutLMConfig(**TEXT))),
    "hf-data2vec-text": lambda: text(hf.Data2VecTextModel(hf.Data2VecTextConfig(**dict(TEXT, pad_token_id=1)))),
    "hf-megatron-bert": lambda: text(hf.MegatronBertModel(hf.MegatronBertConfig(**TEXT))),
    "hf-rembert": lambda: text(hf.RemBertModel(hf.RemBertConfig(input_embedding_size=32, **TEXT))),
    "hf-ernie": lambda: text(hf.ErnieModel(hf.ErnieConfig(**TEXT))),
    "hf-bert-classes": lambda: text(hf.BertForSequenceClassification(hf.BertConfig(**TEXT))),
    "hf-bert-answers": lambda: text(hf.BertForQuestionAnswering(hf.BertConfig(**TEXT))),
    "hf-bert-words": lambda: text(hf.BertForMaskedLM(hf.BertConfig(**TEXT))),
    "hf-gpt2-head": lambda: causal(hf.GPT2Config(vocab_size=500, n_embd=64, n_layer=2, n_head=4, n_positions=64), hf.GPT2LMHeadModel),
    "hf-gpt-neo": lambda: causal(hf.GPTNeoConfig(
        vocab_size=500, hidden_size=64, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=4,
        max_position_embeddings=64), hf.GPTNeoModel),
    "hf-gptj": lambda: causal(hf.GPTJConfig(vocab_size=500, n_embd=64, n_layer=2, n_head=4, n_positions=64, rotary_dim=8), hf.GPTJModel),
    "hf-codegen": lambda: causal(
        hf.CodeGenConfig(vocab_size=500, n_embd=64, n_layer=2, n_head=4, n_positions=64, n_ctx=64, rotary_dim=8), hf.CodeGenModel),
    "hf-gpt-bigcode": lambda: causal(hf.GPTBigCodeConfig(vocab_size=500, n_embd=64, n_layer=2, n_head=4, n_positions=64), hf.GPTBigCodeModel),
    "hf-falcon": lambda: causal(hf.FalconConfig(vocab_size=500, hidden_size=64, num_hidden_layers=2, num_attention_heads=4), hf.FalconModel),
    "hf-falcon-alibi": lambda: causal(
        hf.FalconConfig(vocab_size=500, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, alibi=True), hf.FalconModel),
    "hf-mpt": lambda: causal(hf.MptConfig(vocab_size=500, d_model=64, n_heads=4, n_layers=2, max_seq_len=64), hf.MptModel),
    "hf-llama-head": lambda: causal(hf.LlamaConfig(rope_scaling={"rope_type": "linear", "factor": 2.0}, **LLAMA), hf.LlamaForCausalLM),
    "hf-mixtral": lambda: causal(hf.MixtralConfig(num_local_experts=4, num_experts_per_tok=2, **LLAMA), hf.MixtralModel),
    "hf-qwen2-moe": lambda: causal(hf.Qwen2MoeConfig(
        num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64, shared_expert_intermediate_size=64, **LLAMA), hf.Qwen2MoeModel),
    "hf-qwen3": lambda: causal(hf.Qwen3Config(head_dim=16, **LLAMA), hf.Qwen3Model),
    "hf-gemma2": lambda: causal(hf.Gemma2Config(head_dim=16, sliding_window=8, **LLAMA), hf.Gemma2Model),
    "hf-gemma3": lambda: causal(hf.Gemma3TextConfig(head_dim=16, sliding_window=8, **LLAMA), hf.Gemma3TextModel),
    "hf-phi3": lambda: causal(hf.Phi3Config(pad_token_id=0, **LLAMA), hf.Phi3Model),
    "hf-olmo2": lambda: causal(hf.Olmo2Config(**LLAMA), hf.Olmo2Model),
    "hf-cohere": lambda: causal(hf.CohereConfig(**LLAMA), hf.CohereModel),
    "hf-stablelm": lambda: causal(hf.StableLmConfig(**LLAMA), hf.StableLmModel),
    "hf-starcoder2": lambda: causal(hf.Starcoder2Config(**LLAMA), hf.Starcoder2Model),
    "hf-granite": lambda: causal(hf.GraniteConfig(**LLAMA), hf.GraniteModel),
    "hf-deepseek-v3": lambda: causal(hf.DeepseekV3Config(
        moe_intermediate_size=32, n_routed_experts=4, n_group=1, topk_group=1, num_experts_per_tok=2, first_k_dense_replace=1,
        kv_lora_rank=16, q_lora_rank=32, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=16,
        **dict(LLAMA, num_key_value_heads=4)), hf.DeepseekV3Model),
    "hf-mamba": lambda: causal(hf.MambaConfig(vocab_size=500, hidden_size=64, num_hidden_layers=2, state_size=8), hf.MambaModel),
    "hf-mamba2": lambda: causal(hf.Mamba2Config(
        vocab_size=500, hidden_size=64, num_hidden_layers=2, state_size=8, num_heads=8, head_dim=16, n_groups=1, chunk_size=4),
        hf.Mamba2Model),
    "hf-rwkv": lambda: causal(hf.RwkvConfig(vocab_size=500, hidden_size=64, num_hidden_layers=2, attention_hidden_size=64), hf.RwkvModel),
    "hf-jetmoe": lambda: causal(eager(hf.JetMoeConfig(
        vocab_size=500, hidden_size=64, num_hidden_layers=2, num_key_value_heads=2, kv_channels=16, intermediate_size=64, num_local_experts=4)),
        hf.JetMoeModel),
}
