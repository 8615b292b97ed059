"""The results as a page with a table, as a plot, and as numbers."""

import json
import math
from html import escape
from pathlib import Path

from .rows import Row

COLUMNS = {
    "tutorial": "Express as the tutorials write it",
    "express": "Express done well",
    "fastapi": "FastAPI",
    "crates": "crates used straight",
    "psql": "PostgreSQL by itself",
    "signet": "Signet",
}
COLOURS = {"tutorial": "#b8b8b8", "express": "#7f8fa6", "fastapi": "#4f9d8e", "crates": "#d39a3a", "signet": "#3059c8"}


def verdict(row: Row) -> str:
    return {True: "met", False: "**not met**", None: "no goal"}[row.met]


def write(
    directory: Path, name: str, rows: list[Row], failed: dict[str, str], about: list[tuple[str, str]], warning: str
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    columns = {key: title for key, title in COLUMNS.items() if any(key in row.figures for row in rows)}
    page = [f"# Measured {name.removeprefix('trial-')}", ""]
    if warning:
        page += [f"**{warning}**", ""]
    page += ["| | |", "|---|---|", *(f"| {what} | {told} |" for what, told in about), ""]
    page += [
        "Server CPU is user and system time of the server's process over a fixed number of requests; rates and",
        "latencies are beside it. The load generator and the servers share the machine. Candidates take turns; figures are medians.",
        "",
        f"| measure | {' | '.join(columns.values())} | goal | |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for row in rows:
        cells = [row.figures.get(key, "") for key in columns]
        page.append(f"| {row.title} | {' | '.join(cells)} | {row.goal} | {verdict(row)} |")
    short = [row for row in rows if row.met is False]
    page += ["", "## What falls short", ""]
    page += [f"- {row.title}: {row.figures.get('signet', '')}, where the goal is {row.goal}." for row in short]
    page += [f"- `{name}` could not be measured: {reason}" for name, reason in failed.items()]
    if not short and not failed:
        page.append("Nothing.")
    if plotted := [row for row in rows if row.plot]:
        (directory / f"{name}.svg").write_text(plot(plotted), encoding="utf-8")
        page += ["", "## Server CPU per request", "", f"![Server CPU per request]({name}.svg)"]
    page += ["", "## How", ""]
    page += [f"- {row.title}: {note}" for row in rows for note in row.notes]
    (directory / f"{name}.json").write_text(
        json.dumps({"about": dict(about), "rows": {row.name: {"met": row.met, **row.raw} for row in rows}}, indent=1)
        + "\n"
    )
    path = directory / f"{name}.md"
    path.write_text("\n".join(page) + "\n", encoding="utf-8")
    return path


def plot(rows: list[Row]) -> str:
    """Bars on a logarithmic scale, a group for each row, the goal as a line across its group."""
    left, right, bar, gap, top = 330, 90, 18, 26, 64
    width = 980
    values = [value for row in rows for value in row.plot.values()] + [row.plot_goal for row in rows if row.plot_goal]
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))
    span = max(math.log10(high / low), 1)

    def x(value: float) -> float:
        return left + (width - left - right) * math.log10(value / low) / span

    keys = [key for key in COLUMNS if any(key in row.plot for row in rows)]
    body, y = [], top
    for row in rows:
        begin = y
        shown = [key for key in keys if key in row.plot]
        for key in shown:
            value = row.plot[key]
            body.append(
                f'<rect x="{left}" y="{y}" width="{max(x(value) - left, 1):.1f}" height="{bar - 3}" fill="{COLOURS.get(key, "#999")}"/>'
            )
            told = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
            body.append(f'<text x="{x(value) + 6:.1f}" y="{y + 12}">{told} µs</text>')
            y += bar
        middle = (begin + y) / 2
        title = row.title.replace("`", "").partition(", server CPU")[0]
        body.append(f'<text x="{left - 12}" y="{middle:.0f}" text-anchor="end">{escape(title)}</text>')
        if row.plot_goal:
            goal = x(row.plot_goal)
            body.append(
                f'<line x1="{goal:.1f}" x2="{goal:.1f}" y1="{begin - 5}" y2="{y + 2}" stroke="#c0262d" stroke-width="2"/>'
            )
            body.append(
                f'<text x="{goal:.1f}" y="{y + 14}" text-anchor="middle" fill="#c0262d">goal {row.plot_goal:g}</text>'
            )
        y += gap
    height = y + 24
    grid = []
    step = low
    while step <= high:
        grid.append(f'<line x1="{x(step):.1f}" x2="{x(step):.1f}" y1="{top - 8}" y2="{y}" stroke="#ddd"/>')
        grid.append(f'<text x="{x(step):.1f}" y="{y + 16}" text-anchor="middle" fill="#666">{step:g} µs</text>')
        step *= 10
    legend, at = [], left
    for key in keys:
        legend.append(
            f'<rect x="{at}" y="22" width="12" height="12" fill="{COLOURS.get(key, "#999")}"/>'
            f'<text x="{at + 17}" y="33">{escape(COLUMNS[key])}</text>'
        )
        at += 30 + int(6.6 * len(COLUMNS[key]))
    width = max(width, at)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img">'
        f"<title>Server CPU per request, less is better, logarithmic scale</title>"
        f'<rect width="{width}" height="{height}" fill="#fff"/>' + "".join([*grid, *legend, *body]) + "</svg>\n"
    )
