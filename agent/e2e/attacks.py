"""Counts the attacks of a run of the tests, from the runner's own report (JUnit): attacks.py REPORT.

Prints `bench: attacks_total N count` and `bench: attacks_refused M count`. An attack whose test says `skipped:`, for
want of what it needs, is in neither, and is named."""

import sys
import xml.etree.ElementTree as xml

total = refused = 0
for case in xml.parse(sys.argv[1]).iter("testcase"):
    name = case.get("name", "")
    if not name.rsplit("::", 1)[-1].startswith("attack_"):
        continue
    if "skipped:" in (case.findtext("system-out") or ""):
        print(f"skipped: {name}", file=sys.stderr)
        continue
    total += 1
    refused += case.find("failure") is None and case.find("error") is None
print(f"bench: attacks_total {total} count")
print(f"bench: attacks_refused {refused} count")
sys.exit(total == 0 or refused != total)
