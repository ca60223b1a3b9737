#!/usr/bin/env bash
# Every dependency's licence must be one that tools/deny.toml allows, and it must come from crates.io.
set -eu
cd "$(dirname "$0")/.."
cargo metadata --format-version 1 --locked >target/metadata.json
python3 - target/metadata.json tools/deny.toml <<'PY'
import json, re, sys

text = open(sys.argv[2]).read()
allowed = set(re.findall(r'"([^"]+)"', re.search(r"allow = \[(.*?)\]", text, re.S)[1]))


def fits(expression):
    """Whether an SPDX expression can be met: brackets innermost first, then AND before OR."""
    inner = re.search(r"\(([^()]*)\)", expression)
    if inner:
        return fits(expression[: inner.start()] + ("MIT" if fits(inner[1]) else "none") + expression[inner.end() :])
    parts = re.split(r" OR |/", expression)
    return any(all(p.strip() in allowed for p in part.split(" AND ")) for part in parts)


bad = []
packages = [p for p in json.load(open(sys.argv[1]))["packages"] if p["source"]]
for p in packages:
    if not fits(p["license"] or "none"):
        bad.append(f"{p['name']} {p['version']}: licence {p['license']}")
    if not p["source"].startswith("registry+"):
        bad.append(f"{p['name']} {p['version']}: from {p['source']}")
print("\n".join(bad) or f"The licences of {len(packages)} packages are allowed.")
sys.exit(bool(bad))
PY
