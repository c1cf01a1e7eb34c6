"""Times of contenders as a picture."""

import math

COLOURS = ("#0b6e4f", "#9aa0a6", "#c9a227", "#b5523b", "#3b6fb5", "#7a4fa3")

BAR, GAP, LEFT, TOP, WIDTH, RIGHT = 11, 14, 190, 86, 620, 80
STYLE = "text{font:12px sans-serif}.n{font-size:9px}.t{font-weight:bold}"


def chart(title, times, contenders, own="engines"):
    """Bars of each row's times over the engines', logarithmic, as SVG. `times[row, contender]` is in milliseconds."""
    names = list(dict.fromkeys(row for row, _ in times))
    there = {contender for (_, contender), taken in times.items() if taken}
    colours = {name: colour for name, colour in zip(contenders, COLOURS) if name in there}
    ratios = [t / ours for (n, _), t in times.items() if t and (ours := times.get((n, own)))]
    # All bars begin at the left edge, so that those of the engines have a length.
    low, high = min(ratios + [1.0]) / 2, max(ratios + [2.0])

    def at(ratio):
        return LEFT + WIDTH * math.log(ratio / low) / math.log(high / low)

    foot = TOP + len(names) * (len(colours) * BAR + GAP)
    ticks = [2.0**n for n in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
    out = [
        f'<text x="10" y="19" class="t">{title}</text>',
        f'<text x="10" y="37">time of a call over that of {own}, logarithmic: beyond 1 {own} are faster; beside each bar the time</text>',
    ]
    for i, (name, colour) in enumerate(colours.items()):
        x = LEFT + i * 110
        out.append(f'<rect x="{x}" y="48" width="10" height="10" fill="{colour}"/><text x="{x + 14}" y="57">{name}</text>')
    for tick in ticks:
        out.append(f'<line x1="{at(tick):.1f}" y1="{TOP - 6}" x2="{at(tick):.1f}" y2="{foot - GAP + 4}" stroke="#ddd"/>')
        out.append(f'<text x="{at(tick):.1f}" y="{TOP - 10}" text-anchor="middle">{tick:g}</text>')
    y = TOP
    for name in names:
        out.append(f'<text x="{LEFT - 8}" y="{y + BAR * len(colours) / 2 + 4:.0f}" text-anchor="end">{name}</text>')
        for contender, colour in colours.items():
            taken, ours = times.get((name, contender)), times.get((name, own))
            if taken and ours:
                end = at(taken / ours)
                out.append(f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR - 2}" fill="{colour}"/>')
                out.append(f'<text x="{end + 4:.1f}" y="{y + BAR - 3}" class="n">{taken:.3g} ms</text>')
            y += BAR
        y += GAP
    out.append(f'<line x1="{at(1):.1f}" y1="{TOP - 6}" x2="{at(1):.1f}" y2="{foot - GAP + 4}" stroke="#000"/>')
    size = f'width="{LEFT + WIDTH + RIGHT}" height="{foot}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(out)}</svg>\n'
