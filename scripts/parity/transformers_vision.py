"""Networks for images, videos, speech and series from small configurations."""

from typing import Callable

import torch
import transformers as hf

from case import Case
from transformers_case import SMALL, TEXT, Plain, eager, mask, pixels, sound, text, words

VIT = dict(SMALL, image_size=32, patch_size=8)
DETR = dict(d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
            decoder_ffn_dim=64, num_queries=8)
SPEECH = dict(SMALL, conv_dim=(32, 32, 32), conv_stride=(5, 2, 2), conv_kernel=(10, 3, 3), num_conv_pos_embeddings=16,
              num_conv_pos_embedding_groups=4)


def resnet():
    return hf.ResNetConfig(embedding_size=16, hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1], layer_type="basic",
                           out_features=["stage2", "stage3", "stage4"])


def backbone():
    return dict(backbone_config=resnet(), use_timm_backbone=False, use_pretrained_backbone=False, backbone=None)


def pair(model, size: int, **options) -> Case:
    """Words and an image."""
    x = torch.randn(2, 3, size, size)
    names = ["input_ids", "pixel_values", "attention_mask"]
    return Case(Plain(model, names, **options), (words(2, 12), x, mask(2, 12)))


def sides(text_config, vision_config):
    return dict(text_config=dict(TEXT, max_position_embeddings=32, **text_config), vision_config=dict(VIT, **vision_config))


def sam() -> Case:
    vision = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=64, patch_size=8, mlp_dim=64, output_channels=16,
                  window_size=4, global_attn_indexes=[1], num_pos_feats=8)
    config = hf.SamConfig(
        vision_config=vision, prompt_encoder_config=dict(hidden_size=16, image_size=64, patch_size=8, mask_input_channels=4),
        mask_decoder_config=dict(hidden_size=16, mlp_dim=32, num_attention_heads=4, num_hidden_layers=1, iou_head_hidden_dim=16))
    points = torch.rand(1, 1, 2, 2) * 64.0
    return Case(Plain(hf.SamModel(config), ["pixel_values", "input_points"]), (torch.randn(1, 3, 64, 64), points))


SUITE: dict[str, Callable[[], Case]] = {
    "hf-mobilevit": lambda: pixels(hf.MobileViTModel(hf.MobileViTConfig(
        image_size=64, hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64])), 64),
    "hf-mobilevitv2": lambda: pixels(hf.MobileViTV2Model(hf.MobileViTV2Config(
        image_size=64, width_multiplier=0.25, n_attn_blocks=[1, 1, 1], base_attn_unit_dims=[32, 48, 64])), 64),
    "hf-beit": lambda: pixels(hf.BeitModel(hf.BeitConfig(use_relative_position_bias=True, **VIT)), 32),
    "hf-data2vec-vision": lambda: pixels(hf.Data2VecVisionModel(hf.Data2VecVisionConfig(**VIT)), 32),
    "hf-vit-msn": lambda: pixels(hf.ViTMSNModel(hf.ViTMSNConfig(**VIT)), 32),
    "hf-dinov2-registers": lambda: pixels(hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(
        image_size=32, patch_size=8, hidden_size=64, num_hidden_layers=2, num_attention_heads=4)), 32),
    "hf-ijepa": lambda: pixels(hf.IJepaModel(hf.IJepaConfig(**VIT)), 32),
    "hf-resnet": lambda: pixels(hf.ResNetModel(resnet()), 64),
    "hf-regnet": lambda: pixels(hf.RegNetModel(hf.RegNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1], groups_width=8)), 64),
    "hf-bit": lambda: pixels(hf.BitModel(hf.BitConfig(embedding_size=16, hidden_sizes=[32, 64], depths=[1, 1], num_groups=4)), 64),
    "hf-convnextv2": lambda: pixels(hf.ConvNextV2Model(hf.ConvNextV2Config(hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1])), 64),
    "hf-mobilenet-v1": lambda: pixels(hf.MobileNetV1Model(hf.MobileNetV1Config(depth_multiplier=0.25, min_depth=8)), 64),
    "hf-mobilenet-v2": lambda: pixels(hf.MobileNetV2Model(hf.MobileNetV2Config(depth_multiplier=0.25)), 65),
    "hf-efficientnet": lambda: pixels(hf.EfficientNetModel(hf.EfficientNetConfig(width_coefficient=0.25, depth_coefficient=0.25, hidden_dim=320)), 64),
    "hf-swinv2": lambda: pixels(hf.Swinv2Model(hf.Swinv2Config(
        image_size=32, patch_size=2, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4)), 32),
    "hf-swin2sr": lambda: pixels(hf.Swin2SRForImageSuperResolution(hf.Swin2SRConfig(
        image_size=16, embed_dim=24, depths=[2], num_heads=[2], window_size=4, mlp_ratio=2.0, upscale=2)), 16),
    "hf-donut-swin": lambda: pixels(hf.DonutSwinModel(hf.DonutSwinConfig(
        image_size=32, patch_size=2, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4)), 32),
    "hf-focalnet": lambda: pixels(hf.FocalNetModel(hf.FocalNetConfig(image_size=32, patch_size=4, embed_dim=24, depths=[1, 1],
                                                                          hidden_sizes=[24, 48], focal_levels=[2, 2], focal_windows=[3, 3])), 32),
    "hf-cvt": lambda: pixels(hf.CvtModel(hf.CvtConfig(embed_dim=[16, 32, 64], num_heads=[1, 2, 4], depth=[1, 2, 3])), 64),
    "hf-levit": lambda: pixels(hf.LevitModel(hf.LevitConfig(
        image_size=64, hidden_sizes=[32, 48, 64], num_attention_heads=[2, 3, 4], depths=[1, 1, 1], key_dim=[8, 8, 8])), 64),
    "hf-poolformer": lambda: pixels(hf.PoolFormerModel(hf.PoolFormerConfig(hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1])), 64),
    "hf-pvt": lambda: pixels(hf.PvtModel(hf.PvtConfig(
        image_size=64, hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4])), 64),
    "hf-pvt-v2": lambda: pixels(hf.PvtV2Model(hf.PvtV2Config(
        image_size=64, hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4])), 64),
    "hf-swiftformer": lambda: pixels(hf.SwiftFormerModel(hf.SwiftFormerConfig(embed_dims=[16, 24, 32, 48], depths=[1, 1, 1, 1])), 64),
    "hf-hiera": lambda: pixels(hf.HieraModel(hf.HieraConfig(
        image_size=[64, 64], embed_dim=24, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8])), 64),
    "hf-yolos": lambda: pixels(hf.YolosModel(hf.YolosConfig(
        num_detection_tokens=4, **dict(VIT, image_size=[32, 32]))), 32),
    "hf-dpt": lambda: pixels(hf.DPTForDepthEstimation(hf.DPTConfig(
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[16, 16, 32, 32], fusion_hidden_size=16,
        **dict(VIT, num_hidden_layers=4))), 32),
    "hf-glpn": lambda: pixels(hf.GLPNForDepthEstimation(hf.GLPNConfig(
        hidden_sizes=[16, 32, 40, 64], depths=[1, 1, 1, 1], decoder_hidden_size=16)), 64),
    "hf-depth-anything": lambda: pixels(hf.DepthAnythingForDepthEstimation(hf.DepthAnythingConfig(
        backbone_config=hf.Dinov2Config(image_size=56, patch_size=14, hidden_size=32, num_hidden_layers=4, num_attention_heads=4,
                                        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False),
        reassemble_hidden_size=32, patch_size=14, neck_hidden_sizes=[16, 16, 32, 32], fusion_hidden_size=16)), 56),
    "hf-superpoint": lambda: pixels(hf.SuperPointForKeypointDetection(hf.SuperPointConfig(
        encoder_hidden_sizes=[16, 16, 32, 32], decoder_hidden_size=32, descriptor_decoder_dim=32)), 64),
    "hf-segformer-head": lambda: pixels(hf.SegformerForSemanticSegmentation(hf.SegformerConfig(
        hidden_sizes=[16, 32, 40, 64], depths=[1, 1, 1, 1], decoder_hidden_size=32)), 64),
    "hf-upernet": lambda: pixels(hf.UperNetForSemanticSegmentation(hf.UperNetConfig(
        backbone_config=hf.ConvNextConfig(hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"]),
        hidden_size=32, use_auxiliary_head=False)), 64),
    "hf-detr": lambda: pixels(hf.DetrForObjectDetection(hf.DetrConfig(**backbone(), **DETR)), 64),
    "hf-conditional-detr": lambda: pixels(hf.ConditionalDetrForObjectDetection(hf.ConditionalDetrConfig(**backbone(), **DETR)), 64),
    "hf-deformable-detr": lambda: pixels(hf.DeformableDetrModel(hf.DeformableDetrConfig(**backbone(), num_feature_levels=4, **DETR)), 64),
    "hf-rt-detr": lambda: pixels(hf.RTDetrModel(hf.RTDetrConfig(
        d_model=32, encoder_hidden_dim=32, encoder_in_channels=[32, 32, 64], decoder_in_channels=[32, 32, 32], encoder_ffn_dim=64,
        decoder_ffn_dim=64, decoder_layers=1, num_queries=8, num_denoising=0, encoder_attention_heads=4, decoder_attention_heads=4,
        backbone_config=hf.RTDetrResNetConfig(embedding_size=16, hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1], layer_type="basic",
                                              out_features=["stage2", "stage3", "stage4"]))), 64),
    "hf-table-transformer": lambda: pixels(hf.TableTransformerModel(hf.TableTransformerConfig(**backbone(), **DETR)), 64),
    "hf-mask2former": lambda: pixels(hf.Mask2FormerModel(hf.Mask2FormerConfig(
        backbone_config=hf.SwinConfig(image_size=64, patch_size=4, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[2, 2, 4, 4], window_size=4,
                                      out_features=["stage1", "stage2", "stage3", "stage4"]),
        feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=64, dim_feedforward=64, encoder_layers=1,
        decoder_layers=2, num_attention_heads=4, num_queries=8)), 64),
    "hf-sam": sam,
    "hf-vilt": lambda: pair(hf.ViltModel(hf.ViltConfig(max_position_embeddings=32, **dict(VIT, vocab_size=500))), 32),
    "hf-siglip": lambda: pair(hf.SiglipModel(hf.SiglipConfig(**sides({}, {}))), 32),
    "hf-blip": lambda: pair(hf.BlipModel(hf.BlipConfig(projection_dim=32, **sides(
        dict(bos_token_id=1, eos_token_id=2, sep_token_id=2), {}))), 32),
    "hf-chinese-clip": lambda: pair(hf.ChineseCLIPModel(hf.ChineseCLIPConfig(projection_dim=32, **sides({}, {}))), 32),
    "hf-altclip": lambda: pair(hf.AltCLIPModel(hf.AltCLIPConfig(projection_dim=32, **sides(dict(project_dim=32), {}))), 32),
    "hf-flava-text": lambda: text(hf.FlavaTextModel(hf.FlavaTextConfig(**TEXT))),
    "hf-videomae": lambda: sound(hf.VideoMAEModel(hf.VideoMAEConfig(num_frames=4, **VIT)), 4, 3, 32, 32, name="pixel_values"),
    "hf-vivit": lambda: sound(hf.VivitModel(hf.VivitConfig(num_frames=4, tubelet_size=[2, 8, 8], **{k: v for k, v in VIT.items() if k != "patch_size"})),
                              4, 3, 32, 32, name="pixel_values"),
    "hf-timesformer": lambda: sound(hf.TimesformerModel(hf.TimesformerConfig(num_frames=4, **VIT)), 4, 3, 32, 32, name="pixel_values"),
    "hf-hubert": lambda: sound(hf.HubertModel(hf.HubertConfig(**SPEECH)), 800),
    "hf-wavlm": lambda: sound(hf.WavLMModel(hf.WavLMConfig(**SPEECH)), 800),
    "hf-sew": lambda: sound(hf.SEWModel(hf.SEWConfig(**SPEECH)), 800),
    "hf-unispeech": lambda: sound(hf.UniSpeechModel(hf.UniSpeechConfig(**SPEECH)), 800),
    "hf-data2vec-audio": lambda: sound(hf.Data2VecAudioModel(hf.Data2VecAudioConfig(
        conv_pos_kernel_size=5, **{k: v for k, v in SPEECH.items() if k != "num_conv_pos_embeddings"})), 800),
    "hf-wav2vec2-conformer": lambda: sound(hf.Wav2Vec2ConformerModel(hf.Wav2Vec2ConformerConfig(**SPEECH)), 800),
    "hf-wav2vec2-ctc": lambda: sound(hf.Wav2Vec2ForCTC(hf.Wav2Vec2Config(vocab_size=50, feat_extract_norm="layer", do_stable_layer_norm=True, **SPEECH)), 800),
    "hf-ast": lambda: sound(hf.ASTModel(hf.ASTConfig(max_length=64, num_mel_bins=16, patch_size=8, time_stride=8, frequency_stride=8, **SMALL)), 64, 16),
    "hf-encodec": lambda: sound(hf.EncodecModel(hf.EncodecConfig(
        num_filters=4, hidden_size=16, codebook_size=32, codebook_dim=16, upsampling_ratios=[4, 2])), 1, 320, bandwidth=1.5),
    "hf-speech-to-text": lambda: Case(
        Plain(hf.Speech2TextModel(hf.Speech2TextConfig(
            vocab_size=500, d_model=64, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4,
            encoder_ffn_dim=128, decoder_ffn_dim=128, input_feat_per_channel=16, conv_channels=32, max_source_positions=64,
            max_target_positions=64)), ["input_features", "decoder_input_ids"], use_cache=False), (torch.randn(2, 40, 16), words(2, 7))),
    "hf-whisper": lambda: Case(
        Plain(hf.WhisperModel(hf.WhisperConfig(
            vocab_size=500, num_mel_bins=16, encoder_layers=2, encoder_attention_heads=4, decoder_layers=2, decoder_attention_heads=4,
            encoder_ffn_dim=128, decoder_ffn_dim=128, d_model=64, max_source_positions=50, max_target_positions=32, pad_token_id=0,
            bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)), ["input_features", "decoder_input_ids"], use_cache=False),
        (torch.randn(2, 16, 100), words(2, 7)), (torch.randn(1, 16, 100), words(1, 7))),
    "hf-patchtst": lambda: sound(hf.PatchTSTModel(hf.PatchTSTConfig(
        num_input_channels=3, context_length=32, patch_length=4, patch_stride=4, d_model=32, num_attention_heads=4, ffn_dim=64,
        num_hidden_layers=2)), 32, 3, name="past_values"),
    "hf-patchtsmixer": lambda: sound(hf.PatchTSMixerModel(hf.PatchTSMixerConfig(
        num_input_channels=3, context_length=32, patch_length=4, patch_stride=4, d_model=32, num_layers=2)), 32, 3, name="past_values"),
}
