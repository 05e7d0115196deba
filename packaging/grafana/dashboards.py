#!/usr/bin/env python3
"""Writes rackmark-fleet.json and rackmark-node.json beside itself.

A panel is one line: title, unit, expression, legend. Ids, places and the many fields that Grafana wants are the same for
all of them and stand here once. `dashboards.py --check` fails when a file is not what this script writes.
"""

import json
import pathlib
import sys

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "#808080"
NODE = 'job=~"$job", instance=~"$instance"'
GPU = NODE + ', gpu=~"$gpu"'
NAMES = "* on (job, instance, gpu) group_left (serial, physical_slot, name) topk by (job, instance, gpu) (1, rackmark_gpu_info)"


def steps(*pairs):
    """Thresholds: the colour below the first bound, then (bound, colour)."""
    first, *rest = pairs
    return {"mode": "absolute", "steps": [{"color": first, "value": None}] + [{"color": c, "value": v} for v, c in rest]}


CALM = steps(GREEN)
ANY = steps(GREEN, (1, RED))


def target(expr, legend="", kind="range"):
    query = {"datasource": SOURCE, "editorMode": "code", "expr": expr, "legendFormat": legend or "__auto", "range": kind == "range"}
    if kind != "range":
        query.update(instant=True, format=kind)
    return query


def panel(form, title, unit, targets, width, height, *, thresholds=CALM, about="", options=None, custom=None, **field):
    for letter, query in zip("ABCDEFGH", targets):
        query["refId"] = letter
    defaults = {"unit": unit, "thresholds": thresholds, "color": {"mode": "thresholds"}, "custom": custom or {}, "mappings": [], **field}
    return {"type": form, "title": title, "description": about, "datasource": SOURCE, "size": (width, height), "targets": targets,
            "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options or {}}


def lines(title, unit, queries, width=12, height=8, *, stack=False, **more):
    more.setdefault("color", {"mode": "palette-classic"})
    custom = {"lineWidth": 1, "fillOpacity": 30 if stack else 5, "showPoints": "never", "stacking": {"mode": "normal" if stack else "none"}}
    options = {"legend": {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "max"]}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, unit, [target(*query) for query in queries], width, height, custom=custom, options=options, **more)


def number(title, unit, expr, width=3, height=4, **more):
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "area", "textMode": "auto"}
    return panel("stat", title, unit, [target(expr)], width, height, options=options, **more)


def states(title, queries, mappings, width=24, height=7, **more):
    custom = {"fillOpacity": 80, "lineWidth": 0}
    options = {"mergeValues": True, "showValue": "never", "rowHeight": 0.8, "legend": {"displayMode": "list", "placement": "bottom"}}
    made = panel("state-timeline", title, "none", [target(*query) for query in queries], width, height, custom=custom, options=options, **more)
    made["fieldConfig"]["defaults"]["mappings"] = [
        {"type": "value", "options": {str(value): {"text": text, "color": color, "index": value}}} for value, (text, color) in mappings.items()]
    return made


def table(title, expr, hidden, width=24, height=9, unit="none", order=None, **more):
    made = panel("table", title, unit, [target(expr, kind="table")], width, height, options={"cellHeight": "sm", "sortBy": order or []}, **more)
    gone = {name: True for name in ["Time", "__name__", *hidden]}
    made["transformations"] = [{"id": "organize", "options": {"excludeByName": gone}}]
    colours = {"critical": RED, "warning": ORANGE, "info": BLUE}
    made["fieldConfig"]["overrides"] = [{"matcher": {"id": "byName", "options": "severity"}, "properties": [
        {"id": "custom.cellOptions", "value": {"type": "color-background"}},
        {"id": "mappings", "value": [{"type": "value", "options": {word: {"color": colour, "index": at} for at, (word, colour) in enumerate(colours.items())}}]}]}]
    return made


def bars(title, unit, expr, legend, width=12, height=8, **more):
    options = {"displayMode": "gradient", "orientation": "horizontal", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return panel("bargauge", title, unit, [target(expr, legend)], width, height, options=options, **more)


def heat(title, unit, expr, legend, width=24, height=9):
    made = panel("status-history", title, unit, [target(expr, legend)], width, height, custom={"fillOpacity": 90},
                 options={"showValue": "never", "rowHeight": 0.9, "colWidth": 1, "legend": {"showLegend": False}}, min=0, max=1)
    made["fieldConfig"]["defaults"]["color"] = {"mode": "continuous-BlYlRd"}
    return made


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "size": (24, 1)}


def placed(panels):
    """Left to right, a new line where the width is used up."""
    x = y = tallest = 0
    for identity, made in enumerate(panels, 1):
        width, height = made.pop("size")
        if x + width > 24:
            x, y, tallest = 0, y + tallest, 0
        made["id"], made["gridPos"] = identity, {"x": x, "y": y, "w": width, "h": height}
        x, tallest = x + width, max(tallest, height)
    return panels


def variable(name, query, many, **more):
    return {"type": "query", "name": name, "label": name, "datasource": SOURCE, "query": {"query": query, "refId": name}, "definition": query,
            "refresh": 2, "sort": 3, "multi": many, "includeAll": many, "allValue": ".*" if many else None,
            "current": {"text": ["All"], "value": ["$__all"]} if many else {}, **more}


def dashboard(uid, title, about, variables, panels, since):
    return {"uid": uid, "title": title, "description": about, "tags": ["rackmark", "gpu"], "schemaVersion": 39, "version": 1, "editable": True,
            "graphTooltip": 1, "refresh": "30s", "time": {"from": since, "to": "now"}, "timezone": "browser", "annotations": {"list": []},
            "links": [{"type": "dashboards", "title": "rackmark", "tags": ["rackmark"], "asDropdown": False, "includeVars": True, "keepTime": True}],
            "templating": {"list": [{"type": "datasource", "name": "datasource", "label": "data source", "query": "prometheus", "current": {}}, *variables]},
            "panels": placed(panels)}


VERDICTS = {0: ("unknown", GREY), 1: ("schedulable", GREEN), 2: ("draining", YELLOW), 3: ("unusable", RED)}
STATES = {0: ("unknown", GREY), 1: ("free", BLUE), 2: ("reserved", "light-blue"), 3: ("leased", GREEN), 4: ("in use", "dark-green"), 5: ("draining", YELLOW),
          6: ("burn-in", "purple"), 7: ("maintenance", "light-purple"), 8: ("paused", "light-yellow"), 9: ("handed over", "light-green"), 10: ("faulted", RED)}
SEVERITIES = {1: ("info", BLUE), 2: ("warning", ORANGE), 3: ("critical", RED)}


def coded(metric, label, words, where=GPU):
    """One series for each GPU: the number of the word that is 1."""
    terms = [f'{number} * ({metric}{{{where}, {label}="{text.replace(" ", "_").replace("-", "_")}"}} == 1)' for number, (text, _) in words.items()]
    return "max by (instance, gpu) (" + " or ".join(terms) + ")"


def severity(metric, by, where):
    terms = [f'{value} * {metric}{{{where}, severity="{word}"}}' for value, (word, _) in SEVERITIES.items()]
    return f"max by ({by}) (" + " or ".join(terms) + ")"


def since(counter, time, label):
    """What was added in a time. `increase` would miss the first: the series of a code begins with its first error."""
    return f"sum by ({label}) (clamp_min({counter} - ({counter} offset {time} or {counter} * 0), 0))"


FLEET = [
    row("Now"),
    number("Nodes down", "short", f'count(up{{{NODE}}} == 0) or vector(0)', thresholds=ANY, about="Nodes that do not answer the scrape."),
    number("Nodes stale", "short", f'count(rackmark_source_age_seconds{{{NODE}, source="nvml_fast"}} > 120) or vector(0)', thresholds=ANY,
           about="Nodes whose newest sample is older than two minutes; paused ones too."),
    *[number(f"GPUs {word}", "short", f'sum(rackmark_gpu_verdict{{{NODE}, verdict="{word}"}})', thresholds=steps(GREEN, (1, colour)) if word != "schedulable" else steps(RED, (1, GREEN)))
      for word, colour in (("schedulable", GREEN), ("draining", YELLOW), ("unusable", RED), ("unknown", ORANGE))],
    number("Power", "watt", f"sum(rackmark_gpu_power_draw_watts{{{NODE}}})"),
    number("Hottest GPU", "celsius", f"max(rackmark_gpu_temperature_gpu_celsius{{{NODE}}})", thresholds=steps(GREEN, (80, ORANGE), (87, RED))),
    row("Conditions"),
    table("GPU conditions", f"rackmark_gpu_condition{{{NODE}}} {NAMES}", ["Value", "job"], height=10, order=[{"displayName": "severity", "desc": False}],
          about="Every visible condition with serial number and physical slot; maintenance=true does not alert."),
    table("Node conditions", f"rackmark_node_condition{{{NODE}}}", ["Value", "job"], width=12, height=8),
    bars("XIDs in 24 h, by code", "short", since("rackmark_gpu_xid_errors_total{" + NODE + "}", "24h", "xid"), "XID {{xid}}", about="Both witnesses merged."),
    row("Capacity"),
    lines("GPUs by state", "short", [(f"sum by (state) (rackmark_gpu_state{{{NODE}}})", "{{state}}")], stack=True),
    lines("GPUs by verdict", "short", [(f"sum by (verdict) (rackmark_gpu_verdict{{{NODE}}})", "{{verdict}}")], stack=True),
    number("Availability, 30 d", "percentunit",
           f'sum(increase(rackmark_gpu_availability_seconds_total{{{NODE}, class=~"offered|sold"}}[30d])) / sum(increase(rackmark_gpu_availability_seconds_total{{{NODE}, class!="planned"}}[30d]))',
           width=6, height=8, thresholds=steps(RED, (0.95, ORANGE), (0.99, GREEN)), about="Share of unplanned time that GPUs were there to be sold.", decimals=2),
    bars("GPU time by class, 30 d", "s", f"sum by (class) (increase(rackmark_gpu_availability_seconds_total{{{NODE}}}[30d]))", "{{class}}", width=6),
    bars("Least available GPUs, 30 d", "percentunit",
         f'bottomk(10, sum by (instance, gpu) (increase(rackmark_gpu_availability_seconds_total{{{NODE}, class=~"offered|sold"}}[30d])) / sum by (instance, gpu) (increase(rackmark_gpu_availability_seconds_total{{{NODE}, class!="planned"}}[30d])))',
         "{{instance}} GPU {{gpu}}", thresholds=steps(RED, (0.95, ORANGE), (0.99, GREEN)), min=0, max=1),
    row("Load"),
    heat("Utilisation of each GPU", "percentunit", f"rackmark_gpu_utilization_gpu_ratio{{{NODE}}}", "{{instance}} GPU {{gpu}}"),
    lines("Power by node", "watt", [(f"sum by (instance) (rackmark_gpu_power_draw_watts{{{NODE}}})", "{{instance}}")], stack=True),
    lines("Hottest GPUs", "celsius", [(f"topk(10, rackmark_gpu_temperature_gpu_celsius{{{NODE}}})", "{{instance}} GPU {{gpu}}")]),
    row("Agent and feed"),
    lines("Records that wait", "short", [(f"sum by (instance) (rackmark_spool_records{{{NODE}}})", "{{instance}}")], width=8),
    lines("Records lost", "short", [(f"sum by (instance, stream, cause) (increase(rackmark_spool_lost_total{{{NODE}}}[$__rate_interval]))", "{{instance}} {{stream}} {{cause}}")], width=8),
    lines("Age of the newest sample", "s", [(f'max by (instance) (rackmark_source_age_seconds{{{NODE}, source="nvml_fast"}})', "{{instance}}")], width=8,
          thresholds=steps(GREEN, (120, RED))),
]

EACH = "GPU {{gpu}}"


def reading(name, more=""):
    return f"rackmark_gpu_{name}{{{GPU}{more}}}"


def rate(name, more=""):
    return f"rate({reading(name, more)}[$__rate_interval])"


THROTTLES = [("hw_thermal", "hardware, heat"), ("sw_thermal", "driver, heat"), ("hw_power_brake", "power brake"), ("sw_power_cap", "power cap"), ("sync_boost", "sync boost")]
NODE_PANELS = [
    row("Health"),
    number("Schedulable", "short", f'sum(rackmark_gpu_verdict{{{GPU}, verdict="schedulable"}})', width=4, thresholds=steps(RED, (1, GREEN))),
    number("Driver", "bool_on_off", f"min(rackmark_driver_up{{{NODE}}})", width=4, thresholds=steps(RED, (1, GREEN))),
    number("Sample age", "s", f'max(rackmark_source_age_seconds{{{NODE}, source="nvml_fast"}})', width=4, thresholds=steps(GREEN, (30, ORANGE), (120, RED))),
    number("Power", "watt", f"sum({reading('power_draw_watts')})", width=4),
    number("Kernel log", "bool_on_off", f"min(rackmark_kernel_log_up{{{NODE}}})", width=4, thresholds=steps(RED, (1, GREEN)), about="1 while the kernel's log is read."),
    number("Broker", "bool_on_off", f"min(rackmark_mqtt_connected{{{NODE}}})", width=4, thresholds=steps(ORANGE, (1, GREEN))),
    table("Conditions", f"rackmark_gpu_condition{{{GPU}}} {NAMES}", ["Value", "job"], height=7, order=[{"displayName": "severity", "desc": False}]),
    states("Conditions over time", [(severity("rackmark_gpu_condition", "instance, gpu, condition, key", GPU), "GPU {{gpu}} {{condition}} {{key}}"),
                                    (severity("rackmark_node_condition", "instance, condition, key", NODE), "node {{condition}} {{key}}")], SEVERITIES, height=9),
    states("State", [(coded("rackmark_gpu_state", "state", STATES), EACH)], STATES, width=12, height=8),
    states("Verdict", [(coded("rackmark_gpu_verdict", "verdict", VERDICTS), EACH)], VERDICTS, width=12, height=8),
    row("Work"),
    lines("Utilisation", "percentunit", [(reading("utilization_gpu_ratio"), EACH)], min=0, max=1, about="Share of time with a kernel running: says little about how much of the GPU works."),
    lines("Tensor pipes busy", "percentunit", [(reading("tensor_active_ratio"), EACH)], min=0),
    lines("Memory bandwidth in use", "percentunit", [(reading("dram_active_ratio"), EACH)], min=0),
    lines("Memory in use", "bytes", [(reading("memory_used_bytes"), EACH), (f"min by (instance) ({reading('memory_total_bytes')})", "size")], min=0),
    row("Heat, power, clocks"),
    lines("Core temperature", "celsius", [(reading("temperature_gpu_celsius"), EACH), (f"min by (instance) ({reading('temperature_slowdown_celsius')} or {reading('temperature_gpu_celsius')} + {reading('temperature_margin_celsius')})", "slows down")],
          about="The limit is the lowest of the node's GPUs: the slowdown temperature, or the present one plus the margin to it."),
    lines("Memory temperature", "celsius", [(reading("temperature_memory_celsius"), EACH)]),
    lines("Power", "watt", [(reading("power_draw_watts"), EACH), (f"min by (instance) ({reading('power_limit_watts')})", "limit")], min=0),
    lines("Clocks", "hertz", [(reading("clock_sm_hertz"), EACH + " SM"), (reading("clock_memory_hertz"), EACH + " memory")], min=0),
    lines("Share of time held back", "percentunit", [(rate(f"{name}_time_seconds_total"), f"{EACH} {words}") for name, words in THROTTLES], width=24, min=0),
    row("Memory health"),
    lines("Uncorrected ECC errors", "short", [(reading("ecc_uncorrected_volatile_total"), EACH)], width=8, min=0, about="Since the driver was loaded."),
    lines("Corrected ECC errors", "short", [(f"increase({reading('ecc_corrected_volatile_total')}[$__rate_interval])", EACH)], width=8, min=0),
    lines("Remapped rows", "short", [(reading("remapped_rows_uncorrected"), EACH + " uncorrected"), (reading("remapped_rows_corrected"), EACH + " corrected"),
                                     (reading("remapped_rows_pending"), EACH + " pending"), (reading("remapped_rows_failed"), EACH + " failed")], width=8, min=0,
          thresholds=steps(GREEN, (512, RED))),
    row("Links"),
    lines("NVLink", "Bps", [(rate("nvlink_transmit_bytes_total"), EACH + " sent"), (rate("nvlink_receive_bytes_total"), EACH + " received")]),
    lines("PCIe", "Bps", [(reading("pcie_transmit_bytes_per_second"), EACH + " sent"), (reading("pcie_receive_bytes_per_second"), EACH + " received")],
          about="Off by default (sampling.pcie_throughput): the driver measures for 20 ms per call."),
    lines("NVLinks up", "short", [(reading("nvlinks_active"), EACH)], width=8, min=0),
    lines("PCIe link", "short", [(reading("pcie_link_width_lanes"), EACH + " lanes"), (reading("pcie_link_generation"), EACH + " generation")], width=8, min=0),
    lines("PCIe replays a minute", "short", [(f"60 * {rate('pcie_replays_total')}", EACH)], width=8, min=0, thresholds=steps(GREEN, (31, RED)), about="31 a minute is the limit of a Gen5 x16 link."),
    row("Kernel log"),
    lines("XIDs", "short", [(f"sum by (instance, gpu, xid) ({reading('xid_errors_total')})", EACH + " XID {{xid}}")], width=12, min=0),
    lines("Kernel messages", "short", [(f"increase(rackmark_kernel_log_records_total{{{NODE}}}[$__rate_interval])", "read"), (f"increase(rackmark_kernel_log_lost_total{{{NODE}}}[$__rate_interval])", "lost"),
                                       (f"increase(rackmark_kernel_log_unreadable_total{{{NODE}}}[$__rate_interval])", "unreadable")], width=12, min=0),
    row("The agent itself"),
    lines("Processor", "percentunit", [(f"rate(process_cpu_seconds_total{{{NODE}}}[$__rate_interval])", "{{instance}}")], width=8, min=0, about="Of one core."),
    lines("Memory", "bytes", [(f"process_resident_memory_bytes{{{NODE}}}", "{{instance}}")], width=8, min=0, thresholds=steps(GREEN, (48 << 20, ORANGE), (64 << 20, RED))),
    lines("Time of a reading", "s", [(f"rackmark_source_duration_seconds{{{NODE}}}", "{{source}}"), (f"scrape_duration_seconds{{{NODE}}}", "scrape")], width=8, min=0),
]

JOB = variable("job", "label_values(rackmark_gpus, job)", False)
FILES = {
    "rackmark-fleet.json": dashboard("rackmark-fleet", "rackmark: fleet", "All nodes: what can be sold, what is wrong and where it sits.",
                                     [JOB, variable("instance", 'label_values(rackmark_gpus{job=~"$job"}, instance)', True)], FLEET, "now-24h"),
    "rackmark-node.json": dashboard("rackmark-node", "rackmark: node", "One node, GPU by GPU.",
                                    [JOB, variable("instance", 'label_values(rackmark_gpus{job=~"$job"}, instance)', False),
                                     variable("gpu", 'label_values(rackmark_gpu_up{job=~"$job", instance=~"$instance"}, gpu)', True)], NODE_PANELS, "now-6h"),
}

if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    stale = []
    for name, content in FILES.items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv:
            (folder / name).write_text(text)
        elif (folder / name).read_text() != text:
            stale.append(name)
    sys.exit(f"run dashboards.py: {', '.join(stale)} differ" if stale else 0)
