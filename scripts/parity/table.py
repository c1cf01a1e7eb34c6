"""Sums up what the parity suite found: `table.py RESULTS.json`, one line for each family of models, those below their target named."""

import json
import sys
from collections import defaultdict

# The part of the operations that has to be inside engines.
TARGETS = {"transformers": 0.97, "detection and optical flow": 0.9, "convolutional and other networks": 0.99}

TRANSFORMERS = ("hf-", "vit", "swin", "mvit", "maxvit", "timm-vit", "timm-swin", "timm-deit", "timm-beit", "timm-cait", "timm-xcit")
DETECTION = ("rcnn", "retinanet", "ssd", "fcos", "raft")


def family(name: str) -> str:
    if any(part in name for part in DETECTION):
        return "detection and optical flow"
    return "transformers" if name.startswith(TRANSFORMERS) else "convolutional and other networks"


def main() -> None:
    with open(sys.argv[1]) as file:
        results = json.load(file)
    families = defaultdict(list)
    for name, result in results.items():
        families[family(name)].append((result["share"], name, result["verdict"] == "Agrees", result["engines"]))
    print(f"{'family':<34} models  agree  one engine  least inside")
    for title, models in sorted(families.items()):
        least = min(models)
        agree, whole = sum(m[2] for m in models), sum(m[3] == 1 for m in models)
        print(f"{title:<34} {len(models):>6} {agree:>6} {whole:>11}  {100 * least[0]:.2f} % ({least[1]})")
    for title, models in sorted(families.items()):
        for share, name, agrees, _ in sorted(models):
            if not agrees or share < TARGETS[title]:
                print(f"{name}: {'agrees' if agrees else 'does not agree'}, {100 * share:.2f} % inside")


if __name__ == "__main__":
    main()
