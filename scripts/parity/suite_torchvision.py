"""torchvision's models with random weights, at reduced sizes: classification, segmentation, detection, video, optical flow."""

from typing import Callable

import torch
import torchvision
from torchvision import models

from case import Case

# Networks whose sizes are fixed, or that need larger images than the rest.
SIZES = {"inception_v3": 107, "maxvit_t": 224, "alexnet": 67}


def classification(name: str, script: bool) -> Case:
    size = SIZES.get(name, 64)
    options = {"image_size": 64 if "14" not in name else 56} if name.startswith("vit") else {}
    if "image_size" in options:
        size = options["image_size"]
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": False}
    module = models.get_model(name, weights=None, **options)
    return Case(module, (torch.randn(2, 3, size, size),), (torch.randn(1, 3, size, size),), script)


def segmentation(name: str, script: bool) -> Case:
    module = models.get_model(name, weights=None, weights_backbone=None, num_classes=21)
    return Case(module, (torch.randn(1, 3, 64, 64),), (torch.randn(2, 3, 96, 64),), script)


# Of how many candidates detectors choose. Among thousands some scores are as close as rounding errors, and which comes first
# says nothing.
CANDIDATES = 20


def few_candidates(module: torch.nn.Module) -> None:
    for part in module.modules():
        for limit in ("topk_candidates", "detections_per_img"):
            if hasattr(part, limit):
                setattr(part, limit, CANDIDATES)
        for limit in ("_pre_nms_top_n", "_post_nms_top_n"):
            if hasattr(part, limit):
                setattr(part, limit, {"training": CANDIDATES, "testing": CANDIDATES})


def spread(module: torch.nn.Module, images: list[torch.Tensor]) -> torch.nn.Module:
    """Every layer gives values of about size 1 for these images, so that scores are neither saturated nor all alike."""
    done: set[torch.nn.Module] = set()

    def scale(layer: torch.nn.Module, inputs: tuple, result: torch.Tensor) -> torch.Tensor:
        if layer in done or not result.std() > 0:
            return result
        done.add(layer)
        layer.weight.data.div_(result.std())
        return layer.forward(*inputs)

    layers = [part for part in module.modules() if isinstance(part, (torch.nn.Conv2d, torch.nn.Linear))]
    hooks = [layer.register_forward_hook(scale) for layer in layers]
    with torch.no_grad():
        module(images)
    for hook in hooks:
        hook.remove()
    return module


def detection(name: str) -> Case:
    options = {} if name == "ssd300_vgg16" or name.startswith("ssdlite") else {"min_size": 128, "max_size": 160}
    module = models.get_model(name, weights=None, weights_backbone=None, num_classes=7, **options)
    for part in (module, getattr(module, "roi_heads", module)):
        if hasattr(part, "score_thresh"):
            part.score_thresh = 0.0
    few_candidates(module)
    images = [torch.rand(3, 100, 120), torch.rand(3, 120, 90)]
    return Case(module.eval(), (images,), (images[1:],), True, lambda m: spread(m, images))


def video(name: str, script: bool) -> Case:
    if name.startswith(("mvit", "s3d")):
        size, frames = 224, 16
    else:
        size, frames = 64, 8
    module = models.get_model(name, weights=None)
    return Case(module, (torch.randn(1, 3, frames, size, size),), None, script)


def flow(name: str, script: bool) -> Case:
    module = models.get_model(name, weights=None)
    pair = (torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128))
    return Case(module, pair, None, script)


def both(make: Callable[[str, bool], Case], names: list[str]) -> dict[str, Callable[[], Case]]:
    out: dict[str, Callable[[], Case]] = {}
    for name in names:
        out[name] = lambda name=name: make(name, False)
        out[f"{name}.script"] = lambda name=name: make(name, True)
    return out


def listed(module) -> list[str]:
    return [n for n in models.list_models(module=module) if not n.startswith("quantized")]


SUITE: dict[str, Callable[[], Case]] = {
    **both(classification, listed(torchvision.models)),
    **both(segmentation, listed(torchvision.models.segmentation)),
    **{f"{n}.script": lambda n=n: detection(n) for n in listed(torchvision.models.detection)},
    **both(video, listed(torchvision.models.video)),
    **both(flow, listed(torchvision.models.optical_flow)),
}
