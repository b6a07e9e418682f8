"""The page that a person looks at: float, ledger, faults, settings, the last requests."""

import time
from html import escape

from .ledger import moment

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
.note { opacity: .75; margin-top: 0; }
.figures { display: flex; gap: 2.5rem; flex-wrap: wrap; margin: 1rem 0; }
.figures b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #8884; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.failed { color: #c0392b; } .pending { color: #b9770e; }
code { font-size: .92em; }
"""


def render(gateway, number, rows):
    """The whole page, with page `number` of the ledger at `rows` to a page."""
    count = gateway.ledger.count()
    parts = [
        "<h1>Sandbox gateway</h1>",
        "<p class='note'>No money is in it. Reload to see what is new.</p>",
        _figures(gateway, count),
        "<h2>Ledger</h2>",
        _ledger(gateway.ledger.newest(rows, (number - 1) * rows)),
        _pages(number, -(-count // rows)),
        "<h2>Faults in force</h2>",
        _faults(gateway.faults.in_force()),
        "<h2>Settings</h2>",
        _settings(gateway),
        "<h2>Last requests</h2>",
        _recent(gateway.traffic.recent),
    ]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Sandbox gateway</title>"
        "<meta name='viewport' content='width=device-width'><link rel='icon' href='data:,'>"
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def _figures(gateway, count):
    paid = gateway.ledger.paid()
    figures = {
        "float": f"{gateway.ledger.float:,}",
        "paid out": f"{sum(paid.values()):,}",
        "payees paid": f"{len(paid):,}",
        "deposits": f"{count:,}",
    }
    cells = "".join(f"<div>{name}<b>{value}</b></div>" for name, value in figures.items())
    return f"<div class='figures'>{cells}</div>"


def _table(heads, rows, empty):
    """A table; a head that ends in ` #` is a column of numbers. Cells come as text."""
    if not rows:
        return f"<p class='note'>{empty}</p>"
    kinds = [" class='n'" if head.endswith(" #") else "" for head in heads]
    head = "".join(f"<th{k}>{escape(h.removesuffix(' #'))}</th>" for k, h in zip(kinds, heads, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{k}>{cell}</td>" for k, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _ledger(rows):
    lines = [
        (
            str(row["id"]),
            moment(row["at"])[:19].replace("T", " "),
            escape(row["payee"]),
            f"{row['amount']:,}",
            f"<span class='{row['state']}'>{row['state']}</span>",
            f"<code>{escape(row['reference'] or '')}</code>",
        )
        for row in rows
    ]
    heads = ("no. #", "when (Nairobi)", "payee", "amount #", "state", "reference")
    return _table(heads, lines, "No deposit on this page.")


def _pages(number, last):
    links = []
    if number > 1:
        links.append(f"<a href='/?page={number - 1}'>newer</a>")
    if number < last:
        links.append(f"<a href='/?page={number + 1}'>older</a>")
    place = f"page {number} of {last}" if last > 1 else ""
    return f"<p>{' · '.join([*links, place] if place else links)}</p>"


def _faults(faults):
    lines = [
        (
            escape(fault.target),
            escape(fault.name),
            escape("" if fault.as_dict()["arg"] is None else repr(fault.arg)),
            "for ever" if fault.left is None else str(fault.left),
            f"{fault.probability:g}",
        )
        for fault in faults
    ]
    heads = ("payee or call", "kind", "argument", "times left #", "probability #")
    return _table(heads, lines, "None: every deposit is answered as it deserves.")


def _settings(gateway):
    lines = [(escape(name), escape(str(value))) for name, value in gateway.settings.as_dict().items()]
    agents = ", ".join(f"{agent.email} ({agent.kind})" for agent in gateway.agents.values())
    return _table(("setting", "value"), [("agents", escape(agents)), *lines], "")


def _recent(recent):
    lines = [
        (
            time.strftime("%H:%M:%S", time.localtime(at)),
            escape(f"{method} {path}"),
            escape(subject),
            escape(outcome),
        )
        for at, method, path, subject, outcome in reversed(recent)
    ]
    return _table(("when", "request", "of", "outcome"), lines, "None yet.")
