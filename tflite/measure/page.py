"""`tflite.inspect --html`: the figures of a `.tflite` as one page that needs no network and reads well on a phone."""

from __future__ import annotations

from collections import Counter
from html import escape
from pathlib import Path

ROW, LANE, MARGIN = 40, 10, 12  # pixels: height of a row of the graph, width of one of its lanes, space around them

KINDS = {
    "conv": ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "CONV_3D"),
    "depthwise": ("DEPTHWISE_CONV_2D",),
    "resize": ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "SUM"),
    "arithmetic": ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM"),
    "activation": ("PRELU", "RELU", "RELU6", "LEAKY_RELU", "LOGISTIC", "SOFTMAX", "TANH", "HARD_SWISH", "ELU", "GELU"),
    "convert": ("QUANTIZE", "DEQUANTIZE", "CAST"),
    "layout": (
        *("RESHAPE", "TRANSPOSE", "CONCATENATION", "PAD", "SLICE", "STRIDED_SLICE", "SPLIT", "SPACE_TO_DEPTH"),
        *("DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "SQUEEZE", "EXPAND_DIMS"),
    ),
}
KIND = {name: kind for kind, names in KINDS.items() for name in names}

STYLE = """
:root { --bg:#f6f7f9; --card:#fff; --ink:#1b2330; --dim:#687385; --line:#dfe3ea; --edge:#aab3c2; --accent:#2f6fde;
 --conv:#2f6fde; --depthwise:#1a9c94; --resize:#3f9a3f; --arithmetic:#d9822b; --activation:#9a4fc0; --convert:#d0455c;
 --layout:#98a2b3; --other:#5b6472; }
@media (prefers-color-scheme: dark) { :root { --bg:#11151c; --card:#1a202a; --ink:#e6eaf1; --dim:#94a0b3;
 --line:#2b3441; --edge:#53607a; --accent:#6fa1ff; --conv:#6fa1ff; --depthwise:#45c9bf; --resize:#72c972;
 --arithmetic:#f0a458; --activation:#c48be4; --convert:#f07c8f; --layout:#77839a; --other:#a3adbd; } }
* { box-sizing:border-box } html { color-scheme:light dark }
body { margin:0; background:var(--bg); color:var(--ink); font:15px/1.45 system-ui,sans-serif }
main { max-width:980px; margin:0 auto; padding:20px 14px 60px }
h1 { font-size:1.35rem; margin:0; overflow-wrap:anywhere } h2 { font-size:1.05rem; margin:0 0 12px }
p { margin:4px 0 0 } .dim { color:var(--dim) } small { font-size:.8rem }
section, .card { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:14px }
section { margin-top:14px } .cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(138px,1fr)); gap:10px;
 margin-top:16px } .card b { display:block; font-size:1.3rem; font-variant-numeric:tabular-nums }
.bar { height:9px; border-radius:5px; background:var(--line); overflow:hidden } .bar i { display:block; height:100% }
.delegate + .delegate, .type + .type { margin-top:14px } .row { display:flex; flex-wrap:wrap; gap:0 8px;
 align-items:baseline }
.row > :last-child { margin-left:auto; text-align:right; white-space:nowrap } .delegate ul { margin:6px 0 0;
 padding-left:18px; color:var(--dim); font-size:.86rem }
.tag { white-space:nowrap; font-size:.7rem; padding:1px 7px; border-radius:9px; border:1px solid var(--line);
 color:var(--dim) } .warn { color:var(--convert); border-color:var(--convert) } svg { display:block; max-width:100% }
.graph { position:relative; margin:0 -14px } .graph svg { position:absolute; left:0; top:0; max-width:none }
.node { position:relative; display:block; width:100%; height:40px; padding:3px 14px 0 0; border:0; background:none;
 color:inherit; font:inherit; text-align:left; cursor:pointer } .node:hover { background:color-mix(in srgb,
 var(--accent) 9%, transparent) } .node div { display:flex; gap:6px; line-height:17px; font-size:.84rem }
.node div + div { font-size:.74rem; color:var(--dim) } .node span:first-child { overflow:hidden; text-overflow:ellipsis;
 white-space:nowrap; min-width:0 } .node span:last-child { margin-left:auto; white-space:nowrap }
.node.plain span { font-weight:400 } .node div:first-child span:first-child { font-weight:600 }
.node.layout div:first-child span:first-child { font-weight:400; color:var(--dim) }
.scroll { overflow-x:auto; margin:10px -14px -14px } table { border-collapse:collapse; font-size:.78rem; width:100% }
th, td { padding:5px 9px; border-top:1px solid var(--line); text-align:left; white-space:nowrap; vertical-align:top }
td.n, th.n { text-align:right; font-variant-numeric:tabular-nums } th { position:sticky; top:0; background:var(--card) }
input { font:inherit; width:100%; padding:8px 10px; border:1px solid var(--line); border-radius:8px; margin-top:10px;
 background:var(--bg); color:inherit } summary { cursor:pointer; font-weight:600 }
dialog { border:1px solid var(--line); border-radius:14px; background:var(--card); color:inherit; padding:16px;
 width:min(560px,94vw); margin:auto auto 12px } dialog::backdrop { background:#0006 }
dl { display:grid; grid-template-columns:auto 1fr; gap:4px 14px; margin:0; font-size:.86rem } dt { color:var(--dim) }
dd { margin:0; overflow-wrap:anywhere }
.key { display:flex; flex-wrap:wrap; gap:4px 14px; font-size:.78rem; color:var(--dim); margin-bottom:10px }
.key i { display:inline-block; width:9px; height:9px; border-radius:50%; margin-right:5px }
"""

SCRIPT = """
const rows = [...document.querySelectorAll('tbody tr')], heads = [...document.querySelectorAll('thead th')];
const dialog = document.querySelector('dialog');
document.querySelectorAll('.node[data-row]').forEach(node => node.onclick = () => {
  const list = dialog.querySelector('dl');
  list.replaceChildren(...[...rows[node.dataset.row].cells].flatMap((cell, i) => {
    if (!cell.textContent.trim()) return [];
    const name = document.createElement('dt'), value = document.createElement('dd');
    name.textContent = heads[i].textContent; value.textContent = cell.textContent;
    return [name, value];
  }));
  dialog.showModal();
});
dialog.onclick = event => event.target === dialog && dialog.close();
document.querySelector('input').oninput = event => rows.forEach(row =>
  row.hidden = !row.textContent.toLowerCase().includes(event.target.value.toLowerCase()));
"""


def render(found: dict) -> str:
    """The page of what `inspect.inspect` found; where operations have `ms` (from a profile), times are shown too."""
    name = escape(Path(found["model"]).name)
    parts = [
        f"<h1>{name}</h1><p class=dim>{escape(found['input'])} &rarr; {escape(found['output'])}</p>",
        f"<p class=dim>labels: {escape(', '.join(found['metadata']['labels']))}</p>" if found["metadata"] else "",
        _cards(found),
        f"<section><h2>Who can run it</h2>{''.join(_delegate(found, who) for who in found['delegates'])}</section>",
        f"<section><h2>Where the work is</h2>{_types(found)}</section>",
        f"<section><h2>Values in memory, operation by operation</h2>{_memory(found)}</section>",
        _islands(found),
        f"<section><h2>The graph</h2>{_graph(found)}</section>",
        f"<section><details><summary>All operations as a table</summary>{_table(found)}</details></section>",
        '<dialog><dl></dl><form method=dialog style="text-align:right"><button>Close</button></form></dialog>',
    ]
    return (
        '<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width,'
        f'initial-scale=1"><title>{name}</title><style>{STYLE}</style><main>{"".join(parts)}</main>'
        f"<script>{SCRIPT}</script></html>\n"
    )


def _cards(found: dict) -> str:
    measured = found["delegates"]["XNNPACK"]
    facts = [
        (f"{found['bytes'] / 1024:,.0f} KiB", "file"),
        (f"{found['total']}", "operations"),
        (f"{found['macs'] / 1e6:,.1f} M", "multiply-accumulates"),
        (f"{found['parameters']:,}", "weights"),
        (f"{found['peak_bytes'] / 1024:,.0f} KiB", "values in memory at most"),
        (f"{found['float_ops']}", "operations in float"),
        (f"{measured['takes']} of {found['total']}", f"in XNNPACK, {_pieces(measured)}"),
    ]
    if _has_times(found):
        facts.append((f"{sum(operation['ms'] for operation in found['operations']):.2f} ms", "all operations"))
    cards = "".join(f"<div class=card><b>{fact}</b><small class=dim>{what}</small></div>" for fact, what in facts)
    return f"<div class=cards>{cards}</div>"


def _delegate(found: dict, who: str) -> str:
    figures = found["delegates"][who]
    share = figures["takes"] / max(found["total"], 1)
    leaves = "".join(
        f"<li>{escape(', '.join(f'{count} {name}' for name, count in names.items()))}: {escape(reason)}</li>"
        for reason, names in figures["leaves"].items()
    )
    return (
        f"<div class=delegate><div class=row><b>{escape(who)}</b><span class=tag>{figures['basis']}</span>"
        f"<span>{figures['takes']} of {found['total']}, {_pieces(figures)}</span></div>"
        f"{_bar(share, 'accent')}<ul>{leaves}</ul></div>"
    )


def _types(found: dict) -> str:
    timed = _has_times(found)
    key, unit = ("ms", "time") if timed else ("macs", "multiply-accumulates")
    work: Counter = Counter()
    for operation in found["operations"]:
        work[operation["name"]] += operation[key]
    total = sum(work.values()) or 1
    rows, rest = [], []
    for name, count in sorted(found["ops"].items(), key=lambda item: (-work[item[0]], -item[1])):
        share = work[name] / total
        if share < 0.001:
            rest.append(f"{count} {name}")
            continue
        amount = f"{work[name]:.2f} ms" if timed else f"{work[name] / 1e6:,.1f} M"
        rows.append(
            f"<div class=type><div class=row><span>{count} &times; {escape(name)}</span>"
            f"<span class=dim>{amount}, {share:.1%}</span></div>{_bar(share, _kind(name))}</div>"
        )
    also = f"<p class=dim><small>hardly any in {escape(', '.join(rest))}</small></p>" if rest else ""
    return f"<p class=dim><small>share of the {unit}</small></p>{''.join(rows)}{also}"


def _pieces(figures: dict) -> str:
    return "1 partition" if figures["partitions"] == 1 else f"{figures['partitions']} partitions"


def _memory(found: dict) -> str:
    values = [operation["live_bytes"] for operation in found["operations"]]
    peak, step = max(found["peak_bytes"], 1), 700 / max(len(values), 1)
    points = "".join(
        f"L{i * step:.1f},{120 - value / peak * 108:.1f}H{(i + 1) * step:.1f}" for i, value in enumerate(values)
    )
    worst = found["operations"][found["peak_at"]]
    x = (found["peak_at"] + 0.5) * step
    return (
        f'<svg viewBox="0 0 700 122" width="100%" role="img"><path d="M0,120{points}V120Z" fill="var(--accent)" '
        f'opacity=".35"/><circle cx="{x:.1f}" cy="12" r="5" fill="var(--convert)"/></svg>'
        f"<p class=dim><small>most at {worst['index']} {escape(worst['name'])} {escape(worst['layer'])}: "
        f"{found['peak_bytes'] / 1024:,.0f} KiB. Weights not included.</small></p>"
    )


def _islands(found: dict) -> str:
    if not found["float_islands"]:
        return ""
    items = "".join(
        f"<li>{len(island['operations'])} operation(s): {escape(island['begins'])} &rarr; {escape(island['ends'])}</li>"
        for island in found["float_islands"]
    )
    return f"<section><h2>Float islands in the quantized graph</h2><ul>{items}</ul></section>"


def lanes(operations: list[dict], end: int) -> dict[int, int]:
    """The column of each operation in the drawing; -1 is the model's input, `end` its output.

    As in a drawing of a version history: a value keeps its column until the last operation that reads it, which takes
    the column over; an operation none of whose values end there takes the leftmost free one.
    """
    last = {source: operation["index"] for operation in operations for source in operation["sources"]}
    columns: list[int | None] = [-1]
    place = {-1: 0}
    for operation in operations:
        index = operation["index"]
        ending = [place[source] for source in operation["sources"] if last[source] == index]
        free = [column for column, holder in enumerate(columns) if holder is None]
        column = min(ending or free or [len(columns)])
        for ended in ending:
            columns[ended] = None
        columns[column:] = [index, *columns[column + 1 :]]
        place[index] = column
    place[end] = 0
    return place


def _graph(found: dict) -> str:
    operations, drawn = [], {-1}
    for operation in found["operations"]:  # without those that only unpack weights
        if sources := drawn.intersection(operation["sources"]):
            drawn.add(operation["index"])
            operations.append({**operation, "sources": sorted(sources)})
    end = len(found["operations"])
    place = lanes(operations, end)
    row = {-1: 0, end: len(operations) + 1} | {op["index"]: i for i, op in enumerate(operations, start=1)}
    read = {source for operation in operations for source in operation["sources"]}
    edges = [(source, operation["index"]) for operation in operations for source in operation["sources"]]
    edges += [(operation["index"], end) for operation in operations if operation["index"] not in read]

    def at(index: int) -> tuple[int, int]:
        return MARGIN + place[index] * LANE, row[index] * ROW + ROW // 2

    lines = []
    for source, target in edges:
        (x, y), (to_x, to_y) = at(source), at(target)
        bend = "" if x == to_x else f"C{x},{to_y - ROW / 2:.0f} {to_x},{to_y - ROW / 2:.0f} {to_x},{to_y}"
        lines.append(f"M{x},{y}V{to_y - ROW if bend else to_y}{bend}")
    dots = [
        f'<circle cx="{at(op["index"])[0]}" cy="{at(op["index"])[1]}" '
        f'r="{3 if _kind(op["name"]) == "layout" else 4.5}" fill="var(--{_kind(op["name"])})"/>'
        for op in operations
    ]
    dots += [
        f'<rect x="{at(tip)[0] - 6}" y="{at(tip)[1] - 6}" width="12" height="12" rx="3" fill="var(--ink)"/>'
        for tip in (-1, end)
    ]
    width = 2 * MARGIN + max(place.values()) * LANE
    height = (len(operations) + 2) * ROW
    key = "".join(f'<span><i style="background:var(--{kind})"></i>{kind}</span>' for kind in [*KINDS, "other"])
    rows = [_end("input", found["input"], width)]
    rows += [_node(found, operation["index"], width) for operation in operations]
    rows.append(_end("output", found["output"], width))
    return (
        f'<div class=key>{key}</div><div class=graph><svg width="{width}" height="{height}"><path d="{"".join(lines)}" '
        f'fill="none" stroke="var(--edge)" stroke-width="1.6"/>{"".join(dots)}</svg>{"".join(rows)}</div>'
    )


def _end(title: str, text: str, width: int) -> str:
    return (
        f'<div class=node style="padding-left:{width}px"><div><span>{title}</span><span></span></div>'
        f"<div><span>{escape(text)}</span><span></span></div></div>"
    )


def _node(found: dict, i: int, width: int) -> str:
    operation = found["operations"][i]
    amount = f"{operation['macs'] / 1e6:.2f} M" if operation["macs"] else ""
    if _has_times(found):
        amount = f"{operation['ms']:.3f} ms"
    tags = "" if operation["delegated"] else "<span class='tag warn'>not XNNPACK</span>"
    if operation["float_output"] and found["float_islands"]:
        tags += "<span class='tag warn'>float</span>"
    facts = " ".join(f"{key} {_text(value)}" for key, value in operation["attributes"].items() if key != "padding")
    return (
        f'<button class="node {_kind(operation["name"])}" data-row={i} style="padding-left:{width}px"><div>'
        f"<span>{escape(operation['layer'])}</span>{tags}<span>{amount}</span></div>"
        f"<div><span>{escape(operation['name'])} {escape(facts)}</span>"
        f"<span>{escape(', '.join(operation['outputs']))}</span></div></button>"
    )


def _table(found: dict) -> str:
    timed = _has_times(found)
    heads = [
        "#",
        "operation",
        "layer",
        "reads",
        "writes",
        "attributes",
        "scale",
        "zero",
        "weights",
        "MACs",
        "KiB in memory",
    ]
    heads += ["ms"] * timed + ["refused by"]
    numbers = {"#", "scale", "zero", "weights", "MACs", "KiB in memory", "ms"}
    rows = []
    for operation in found["operations"]:
        scale = operation["quantization"] or {}
        cells = [
            operation["index"], operation["name"], operation["layer"], ", ".join(operation["inputs"]),
            ", ".join(operation["outputs"]),
            ", ".join(f"{key} {_text(value)}" for key, value in operation["attributes"].items()),
            f"{scale['scale']:.4g}" if scale else "", scale.get("zero_point", ""), f"{operation['parameters']:,}",
            f"{operation['macs']:,}", f"{operation['live_bytes'] / 1024:,.0f}",
        ]  # fmt: skip
        if timed:
            cells.append(f"{operation['ms']:.3f}")
        cells.append("; ".join(f"{who}: {why}" for who, why in operation["refused"].items()))
        rows.append("".join(_cell("td", head, cell, numbers) for head, cell in zip(heads, cells, strict=True)))
    head = "".join(_cell("th", head, head, numbers) for head in heads)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        '<input type=search placeholder="filter: a type, a layer, a shape, a delegate"><div class=scroll>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(tag: str, head: str, value, numbers: set[str]) -> str:
    return f"<{tag}{' class=n' if head in numbers else ''}>{escape(str(value))}</{tag}>"


def _bar(share: float, color: str) -> str:
    return f'<div class=bar><i style="width:{share:.1%};background:var(--{color})"></i></div>'


def _kind(name: str) -> str:
    return KIND.get(name, "other")


def _has_times(found: dict) -> bool:
    return all("ms" in operation for operation in found["operations"])


def _text(value) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)
