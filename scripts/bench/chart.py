"""Times of contenders as a picture."""

import math

COLOURS = ("#0b6e4f", "#9aa0a6", "#c9a227", "#b5523b", "#3b6fb5", "#7a4fa3")


def chart(times, contenders, own="engines"):
    """Bars of each row's times over the engines', logarithmic, as SVG. `times[row, contender]` is in milliseconds."""
    names = list(dict.fromkeys(row for row, _ in times))
    colours = dict(zip(contenders, COLOURS))
    bar, gap, left, width = 11, 14, 190, 620
    ratios = [t / ours for (n, _), t in times.items() if t and (ours := times.get((n, own)))]
    low, high = min(ratios + [0.5]), max(ratios + [2.0])

    def at(ratio):
        return left + width * math.log(ratio / low) / math.log(high / low)

    out, y = [], 40
    for name in names:
        out.append(f'<text x="{left - 8}" y="{y + bar * len(colours) / 2 + 4:.0f}" text-anchor="end">{name}</text>')
        for contender, colour in colours.items():
            taken, ours = times.get((name, contender)), times.get((name, own))
            if taken and ours:
                end = at(taken / ours)
                x, w = min(at(1), end), max(abs(end - at(1)), 1)
                out.append(f'<rect x="{x:.1f}" y="{y}" width="{w:.1f}" height="{bar - 2}" fill="{colour}"/>')
                out.append(f'<text x="{max(end, at(1)) + 4:.1f}" y="{y + bar - 3}" class="n">{taken:.3g} ms</text>')
            y += bar
        y += gap
    legend = [
        f'<rect x="{left + i * 110}" y="10" width="10" height="10" fill="{c}"/><text x="{left + 14 + i * 110}" y="19">{n}</text>'
        for i, (n, c) in enumerate(colours.items())
    ]
    line = f'<line x1="{at(1):.1f}" y1="30" x2="{at(1):.1f}" y2="{y - gap}" stroke="#000"/>'
    style = "text{font:12px sans-serif}.n{font-size:9px}"
    size = f'width="{left + width + 80}" height="{y}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{"".join(legend + out)}{line}</svg>\n'
