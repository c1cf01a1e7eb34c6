"""Times against sizes as a picture."""

import math

from chart import COLOURS

WIDTH, HEIGHT = 300, 300
LEFT, TOP, GAP, FOOT = 60, 96, 80, 60
STYLE = "text{font:12px sans-serif}.n{font-size:10px}.t{font-weight:bold}"


def ticks(low, high):
    """Numbers 1, 2, 5, 10, ... that enclose both."""
    steps = [m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)]
    first = max((s for s in steps if s <= low), default=low)
    last = min((s for s in steps if s >= high), default=high)
    return [s for s in steps if first <= s <= last]


def panel(title, lines, colours, left):
    """One pair of logarithmic axes at `left`, as SVG. `lines[contender][size]` is in milliseconds."""
    sizes = sorted({size for times in lines.values() for size in times})
    values = [t for times in lines.values() for t in times.values()]
    marks = ticks(min(values), max(values))
    what, unit = title.split(", ")

    def x(size):
        return left + WIDTH * math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0])

    def y(time):
        return TOP + HEIGHT * (1 - math.log(time / marks[0]) / math.log(marks[-1] / marks[0]))

    bottom, middle = TOP + HEIGHT, left + WIDTH / 2
    out = [f'<text x="{middle}" y="{TOP - 14}" text-anchor="middle" class="t">{what}</text>']
    for mark in marks:
        out.append(f'<line x1="{left}" y1="{y(mark):.1f}" x2="{left + WIDTH}" y2="{y(mark):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 6}" y="{y(mark) + 4:.1f}" text-anchor="end" class="n">{mark:g}</text>')
    for size in sizes:
        out.append(f'<line x1="{x(size):.1f}" y1="{bottom}" x2="{x(size):.1f}" y2="{bottom + 5}" stroke="#000"/>')
        out.append(f'<text x="{x(size):.1f}" y="{bottom + 18}" text-anchor="middle" class="n">{size}</text>')
    out.append(f'<path d="M{left},{TOP}V{bottom}H{left + WIDTH}" fill="none" stroke="#000"/>')
    out.append(f'<text x="{middle}" y="{bottom + 40}" text-anchor="middle">{unit}</text>')
    turned = f"rotate(-90 {left - 42} {TOP + HEIGHT / 2})"
    out.append(f'<text x="{left - 42}" y="{TOP + HEIGHT / 2}" text-anchor="middle" transform="{turned}">ms for a call</text>')
    for contender, times in reversed(lines.items()):
        at = [(x(size), y(times[size])) for size in sorted(times)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colours[contender]}" stroke-width="2"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colours[contender]}"/>' for a, b in at]
    return "".join(out)


def picture(title, found, contenders):
    """Every sweep beside the others, as SVG. `found[sweep][contender][size]` is in milliseconds; a sweep's name ends in its unit."""
    colours = dict(zip(contenders, COLOURS))
    found = {title: lines for title, lines in found.items() if len(set().union(*lines.values())) > 1}
    drawn = [panel(title, lines, colours, LEFT + at * (WIDTH + GAP)) for at, (title, lines) in enumerate(found.items())]
    shown = [c for c in contenders if any(lines.get(c) for lines in found.values())]
    legend = [
        f'<rect x="{LEFT + i * 115}" y="38" width="10" height="10" fill="{colours[c]}"/>'
        f'<text x="{LEFT + 14 + i * 115}" y="47">{c}</text>'
        for i, c in enumerate(shown)
    ]
    width = max(LEFT + len(found) * (WIDTH + GAP), LEFT + 115 * len(shown))
    size = f'width="{width}" height="{TOP + HEIGHT + FOOT}"'
    head = f'<rect width="100%" height="100%" fill="#fff"/><text x="{LEFT}" y="22" class="t">{title}</text>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>{head}{"".join(legend + drawn)}</svg>\n'
