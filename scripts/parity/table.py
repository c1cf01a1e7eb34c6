"""Sums up what the parity suite found: one line for each family of models, those below their target named.

    table.py RESULTS.json [MORE.json]... [--out ALL.json]
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

# The part of the operations that has to be inside engines.
TARGETS = {"transformers": 0.97, "detection and optical flow": 0.9, "convolutional and other networks": 0.99}

TRANSFORMERS = ("hf-", "vit", "swin", "mvit", "maxvit", "timm-vit", "timm-swin", "timm-deit", "timm-beit", "timm-cait", "timm-xcit")
DETECTION = ("rcnn", "retinanet", "ssd", "fcos", "raft")


def family(name: str) -> str:
    if any(part in name for part in DETECTION):
        return "detection and optical flow"
    return "transformers" if name.startswith(TRANSFORMERS) else "convolutional and other networks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, help="all results in one file")
    options = parser.parse_args()
    results = {}
    for path in options.results:
        results |= json.loads(path.read_text())
    if options.out:
        options.out.write_text(json.dumps(results, indent=2, sort_keys=True))
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
