"""What every table of the benchmarks shares: its Markdown, and the words for the machine under it."""

from __future__ import annotations


def table(header: list, rows: list[list], words: int = 1) -> str:
    """A Markdown table; the first `words` columns are aligned to the left, figures to the right."""
    lines = [header, ["---"] * words + ["---:"] * (len(header) - words), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def machine(result: dict) -> str:
    """Processor, cores and day of a result of `benchmarks.machine.write`."""
    m = result["machine"]
    return f"{m['processor']}, {m['cores']} cores, {m['date']}"


def litert(result: dict) -> str:
    """The same with the interpreter's version."""
    return f"{machine(result)}; LiteRT {result['machine']['ai-edge-litert']}"
