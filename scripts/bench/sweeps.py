"""Time against batch and against depth."""

from networks import SWEEPS
from timing import measure


def points(sweeps, known, options):
    """Times in milliseconds: `[sweep][contender][size]`. What is in `known`, rows by network, is not timed again."""
    found = {}
    for sweep, names in sweeps.items():
        found[sweep] = {contender: {} for contender in options.contenders}
        for size, name in names.items():
            if name not in known:
                known[name] = measure(name, options)
            for row in known[name]:
                if "median_ms" in row:
                    found[sweep][row["contender"]][size] = row["median_ms"]
    return found


def wanted(matches):
    """The sweeps, of networks whose names match."""
    picked = {sweep: {size: name for size, name in names.items() if matches(name)} for sweep, names in SWEEPS.items()}
    return {sweep: names for sweep, names in picked.items() if len(names) > 1}


def table(found):
    """Markdown; a sweep is a block of rows."""
    lines = []
    for sweep, contenders in found.items():
        sizes = sorted({size for times in contenders.values() for size in times})
        lines += [f"| {sweep}, ms | " + " | ".join(map(str, sizes)) + " |", "|---" * (len(sizes) + 1) + "|"]
        for contender, times in contenders.items():
            shown = [f"{times[size]:.2f}" if size in times else "-" for size in sizes]
            lines.append(f"| {contender} | " + " | ".join(shown) + " |")
        lines.append("")
    return "\n".join(lines)
