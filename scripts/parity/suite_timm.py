"""One small member of each of timm's families, with random weights, traced."""

from typing import Callable

import timm
import torch

from case import Case

NAMES = """
resnet18 resnet26t seresnet50 ecaresnet26t resnetv2_50x1_bit resnest14d skresnet18 res2net50_26w_4s regnetx_002 regnety_002
regnetz_005 resnetrs50 dla34 dpn48b densenet121 vovnet39a selecsls42 hrnet_w18_small hardcorenas_a mobilenetv2_100
mobilenetv3_small_100 mobilenetv4_conv_small efficientnet_b0 efficientnetv2_rw_t tf_efficientnet_lite0 tf_mixnet_s mnasnet_100
fbnetc_100 spnasnet_100 ghostnet_100 ghostnetv2_100 lcnet_050 tinynet_e rexnet_100 xception41 inception_v4 inception_resnet_v2
inception_next_tiny nfnet_l0 nf_regnet_b0 gernet_s repvgg_a0 cspresnet50 cspdarknet53 darknet53 edgenext_small
convnext_tiny convnextv2_atto convmixer_768_32 repghostnet_050 repvit_m0_9 mobileone_s0 fastvit_t8 efficientvit_b0
efficientvit_m0 starnet_s1 rdnet_tiny focalnet_tiny_srf poolformer_s12 caformer_s18
vit_tiny_patch16_224 deit_tiny_patch16_224 deit3_small_patch16_224 beit_base_patch16_224 cait_xxs24_224 xcit_nano_12_p16_224
volo_d1_224 swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_ns_224 twins_pcpvt_small twins_svt_small
pvt_v2_b0 pit_ti_224 levit_128s coat_lite_tiny convit_tiny crossvit_tiny_240 visformer_tiny mixer_s16_224 gmixer_24_224
resmlp_12_224 gmlp_ti16_224 sequencer2d_s nest_tiny jx_nest_tiny maxvit_tiny_rw_224 coatnet_nano_rw_224 coatnext_nano_rw_224
mobilevit_xxs mobilevitv2_050 efficientformer_l1 efficientformerv2_s0 davit_tiny gcvit_xxtiny tnt_s_patch16_224
tiny_vit_5m_224 tresnet_m eva02_tiny_patch14_224 hiera_tiny_224 hgnet_tiny hgnetv2_b0 botnet26t_256
halonet26t lambda_resnet26t bat_resnext26ts mambaout_femto nextvit_small samvit_base_patch16_224 vitamin_small_224
naflexvit_base_patch16_gap swiftformer_xs shvit_s1 fasternet_t0 ghostnetv3_100 csatv2
""".split()


# With random statistics these are chaos: in f32 the host is off from float64 by a tenth of the scale and more.
CHAOTIC = {"efficientnetv2_rw_t"}


def settled(module: torch.nn.Module, x: torch.Tensor) -> torch.nn.Module:
    """The module with the running statistics that this input gives its batch norms."""
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all inputs, of which there is one
    with torch.no_grad():
        module.train()(x)
    return module.eval()


def make(name: str) -> Case:
    """The model at 96 pixels, or at its own size where that is fixed."""
    for size in (96, None):
        try:
            module = timm.create_model(name, pretrained=False, **({"img_size": size} if size else {}))
            break
        except (TypeError, AssertionError, RuntimeError, ValueError):
            module = None
    if module is None:
        module = timm.create_model(name, pretrained=False)
    config = module.pretrained_cfg
    if size is None:
        size = config["input_size"][1]
        if not config.get("fixed_input_size") and config.get("pool_size") and size > 128:
            size = 128
    x = torch.randn(2, 3, size, size)
    module.eval()
    try:
        with torch.no_grad():
            module(x)
    except (RuntimeError, AssertionError, ValueError):
        size = config["input_size"][1]
        x = torch.randn(2, 3, size, size)
    prepare = (lambda module: settled(module, x)) if name in CHAOTIC else None
    return Case(module, (x,), (x[:1].clone(),), prepare=prepare)


SUITE: dict[str, Callable[[], Case]] = {
    f"timm-{name}": lambda name=name: make(name) for name in NAMES if timm.is_model(name)
}
