#!/usr/bin/env python3
"""The Grafana dashboard without Grafana.

dashboard.py check PROMETHEUS METRICS   holds its form, and asks a running Prometheus each of its expressions; METRICS is
                                        a file with hookbro's /metrics, which must know every metric that it or a rule names
dashboard.py draw PROMETHEUS START END FOLDER
                                        draws its rows as PNGs, from the same expressions (needs matplotlib); seconds since 1970
"""

import datetime
import json
import math
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

DASHBOARD = pathlib.Path(__file__).parent.parent / "deploy/grafana/dashboards/hookbro.json"
QUESTIONS = ["Is anything lost?", "Is anything late?", "Is Svix well?", "Which project?"]
COLUMNS = 24  # of Grafana's grid
PATIENCE = 10  # seconds for one answer


def load():
    return json.loads(DASHBOARD.read_text())


def plain(expression, seconds, interval):
    """The expression as Grafana would send it, for all jobs."""
    for name, value in {"$job": ".+", "$__rate_interval": interval, "$__range": f"{seconds}s"}.items():
        expression = expression.replace(name, value)
    return expression


def ask(prometheus, path, **parameters):
    """The data of an answer; raises what Prometheus says against the question."""
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=PATIENCE) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise ValueError(error.read().decode(errors="replace")) from error


def metrics_in(expression):
    """Names of series in an expression: words before a selector, a range, a bracket or the end, outside strings."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\{[^}]*\}", " ", bare)
    return {word for word in re.findall(r"[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])", bare) if "_" in word or word == "up"}


def form(dashboard):
    """What is wrong with the dashboard before anything is asked."""
    panels = dashboard["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    if rows[: len(QUESTIONS)] != QUESTIONS:
        yield f"the rows are {rows}, not first {QUESTIONS}"
    for key in ("uid", "title", "schemaVersion", "templating", "time"):
        if not dashboard.get(key):
            yield f"no {key}"
    ids = [panel["id"] for panel in panels]
    if len(ids) != len(set(ids)):
        yield "two panels share an id"
    taken = {}
    for panel in panels:
        title, at = panel["title"], panel["gridPos"]
        if at["x"] + at["w"] > COLUMNS:
            yield f"{title}: reaches over the right edge"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if taken.setdefault(cell, title) != title:
                yield f"{title}: lies over {taken[cell]}"
        if panel["type"] not in ("timeseries", "stat", "row", "text"):
            yield f"{title}: type {panel['type']} is not drawn by this script"
        if panel["type"] in ("row", "text"):
            continue
        if not panel.get("description") or not panel.get("targets"):
            yield f"{title}: no description or nothing asked"
        letters = [target["refId"] for target in panel["targets"]]
        if len(letters) != len(set(letters)):
            yield f"{title}: two targets share a letter"
        for target in panel["targets"]:
            if target["datasource"]["uid"] != "${datasource}" or not target["legendFormat"]:
                yield f"{title}: a target without the dashboard's data source or without a legend"
            if 'job=~"$job"' not in target["expr"]:
                yield f"{title}: does not follow the choice of jobs: {target['expr']}"


def check(prometheus, metrics_file):
    dashboard, wrong = load(), []
    wrong.extend(form(dashboard))
    shown = set(re.findall(r"^# TYPE (\S+)", pathlib.Path(metrics_file).read_text(), re.MULTILINE))
    rules = [rule for group in ask(prometheus, "rules")["groups"] for rule in group["rules"]]
    known = shown | {"up"} | {rule["name"] for rule in rules if rule["type"] == "recording"}
    asked = [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", [])]
    for where, expression in asked + [(rule["name"], rule["query"]) for rule in rules]:
        names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in metrics_in(plain(expression, 300, "1m"))}
        if not names:
            wrong.append(f"{where}: names no metric: {expression}")
        wrong.extend(f"{where}: hookbro's /metrics has no {name}" for name in sorted(names - known))
    empty = []
    for title, expression in asked:
        try:
            answer = ask(prometheus, "query", query=plain(expression, 300, "1m"))
            if not answer["result"]:
                empty.append(f"{title}: nothing answers {expression}")
        except ValueError as error:
            wrong.append(f"{title}: {expression}: {error}")
    wrong.extend(empty)
    wrong.extend(f"rule {rule['name']}: {rule['lastError']}" for rule in rules if rule.get("lastError"))
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"the dashboard's {len(asked)} expressions and {len(rules)} rules are answered")


# --- drawing ---------------------------------------------------------------

COLOURS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#96d98d", "#ffee52", "#ff7383"]
NAMED = {"green": "#299c46", "orange": "#e0752d", "red": "#d44a3a", "blue": "#3274d9", "purple": "#8f3bb8", "yellow": "#e0b400"}
UNITS = {"s": " s", "cps": "/s", "short": ""}
INK, PAPER, GROUND = "#d8d9da", "#181b1f", "#111217"


def label(target, series):
    return re.sub(r"\{\{(\w+)\}\}", lambda found: series["metric"].get(found[1], ""), target["legendFormat"]).strip()


def number(value, decimals=None):
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if decimals == 0 or value >= 100 or value == int(value) else f"{value:.3g}"


def draw_stat(axes, panel, prometheus, start, end):
    target = panel["targets"][0]
    answer = ask(prometheus, "query", query=plain(target["expr"], int(end - start), "1m"), time=end)["result"]
    texts = [(float(series["value"][1]), label(target, series)) for series in answer] or [(math.nan, "")]
    worst = max(value for value, _ in texts)
    defaults = panel["fieldConfig"]["defaults"]
    decimals = defaults.get("decimals")
    colour = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or worst >= step["value"]:
            colour = step["color"]
    axes.set_facecolor(NAMED[colour])
    axes.set_xticks([])
    axes.set_yticks([])
    shown = "\n".join(f"{name} {number(value, decimals)}" if len(texts) > 1 else number(value, decimals) for value, name in texts)
    axes.text(0.5, 0.5, shown + UNITS[defaults["unit"]], ha="center", va="center", color="white", fontsize=18, weight="bold")


def draw_lines(axes, panel, prometheus, start, end):
    from matplotlib import dates

    defaults = panel["fieldConfig"]["defaults"]
    step = max(1, round((end - start) / 240))
    drawn = []
    for target in panel["targets"]:
        expression = plain(target["expr"], int(end - start), "10s")
        answer = ask(prometheus, "query_range", query=expression, start=start, end=end, step=step)["result"]
        for series in answer:
            values = {round((float(at) - start) / step): float(value) for at, value in series["values"]}
            if any(value for value in values.values() if not math.isnan(value)):
                drawn.append((label(target, series), [values.get(n, math.nan) for n in range(int((end - start) / step) + 1)]))
    times = [datetime.datetime.fromtimestamp(start + n * step, datetime.UTC) for n in range(int((end - start) / step) + 1)]
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=2, maxticks=5 if panel["gridPos"]["w"] > 7 else 4))
    axes.set_facecolor(PAPER)
    axes.grid(color="#2c3235", linewidth=0.6)
    axes.tick_params(colors=INK, labelsize=7)
    fixed = {
        each["matcher"]["options"]: NAMED[each["properties"][0]["value"]["fixedColor"]]
        for each in panel["fieldConfig"]["overrides"]
    }
    colours = [fixed.get(name, COLOURS[nth % len(COLOURS)]) for nth, (name, _) in enumerate(drawn)]
    if defaults["custom"]["stacking"]["mode"] == "normal" and drawn:
        layers = [[0 if math.isnan(value) else value for value in values] for _, values in drawn]
        axes.stackplot(times, layers, labels=[name for name, _ in drawn], colors=colours, alpha=0.75)
    else:
        for nth, (name, values) in enumerate(drawn):
            axes.plot(times, values, label=name, color=colours[nth], linewidth=1.2)
    axes.set_ylim(bottom=0)
    axes.set_xlim(times[0], times[-1])
    if drawn:
        axes.legend(fontsize=6.5, labelcolor=INK, facecolor=PAPER, edgecolor="none", loc="upper left", framealpha=0.6)
    else:
        axes.text(0.5, 0.5, "0 throughout", transform=axes.transAxes, ha="center", va="center", color="#8e8e8e", fontsize=9)
    axes.set_ylabel({"s": "seconds", "cps": "a second", "short": ""}[defaults["unit"]], color=INK, fontsize=7)


def draw(prometheus, start, end, folder):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels, start, end = load()["panels"], float(start), float(end)
    tops = [panel["gridPos"]["y"] for panel in panels if panel["type"] == "row"]
    names = ["lost", "late", "svix", "project", "process"]
    for name, top, bottom in zip(names, tops, tops[1:] + [1000]):
        inside = [panel for panel in panels if top < panel["gridPos"]["y"] < bottom]
        title = next(panel["title"] for panel in panels if panel["type"] == "row" and panel["gridPos"]["y"] == top)
        height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in inside) - top - 1
        tall = height * 0.36 + 0.4
        figure = pyplot.figure(figsize=(13.5, tall), facecolor=GROUND)
        figure.text(0.008, 1 - 0.28 / tall, title, color="white", fontsize=13, weight="bold")
        for panel in inside:
            at = panel["gridPos"]
            pad_x, pad_y = 0.034, 0.62 / tall
            unit_y = (1 - 0.4 / tall) / height
            left, width = at["x"] / COLUMNS, at["w"] / COLUMNS
            low = 1 - 0.4 / tall - (at["y"] - top - 1 + at["h"]) * unit_y
            axes = figure.add_axes((left + pad_x, low + pad_y * 0.45, width - pad_x - 0.006, at["h"] * unit_y - pad_y))
            axes.set_title(panel["title"], color=INK, fontsize=9, loc="left", pad=4)
            for edge in axes.spines.values():
                edge.set_visible(False)
            if panel["type"] == "stat":
                draw_stat(axes, panel, prometheus, start, end)
            elif panel["type"] == "timeseries":
                draw_lines(axes, panel, prometheus, start, end)
            else:
                axes.set_facecolor(PAPER)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.text(0.03, 0.95, panel["options"]["content"].replace("`", ""), va="top", color=INK, fontsize=6, transform=axes.transAxes)
        figure.savefig(pathlib.Path(folder) / f"{name}.png", dpi=85, facecolor=GROUND)
        pyplot.close(figure)


if __name__ == "__main__":
    commands = {("check", 4): check, ("draw", 6): draw}
    command = commands.get((sys.argv[1] if len(sys.argv) > 1 else "", len(sys.argv)))
    if command is None:
        sys.exit(__doc__)
    command(*sys.argv[2:])
