#!/usr/bin/env bash
# ONNX's test suite with Vulkan's validation layer, which must have nothing to say: whole with `all`, else every eighth
# case. Takes the layer of the system, or the one that Chromium brings along.
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
suite=${SHADERNET_SUITE:-target/suite}
chromium=/usr/lib/chromium/libVkLayer_khronos_validation.so
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -f "$chromium" ]; then
    cat >"$work/VkLayer_khronos_validation.json" <<JSON
{
    "file_format_version": "1.2.0",
    "layer": {
        "name": "VK_LAYER_KHRONOS_validation",
        "type": "GLOBAL",
        "library_path": "$chromium",
        "api_version": "1.3.0",
        "implementation_version": "1",
        "description": "Khronos validation",
        "instance_extensions": [{ "name": "VK_EXT_debug_utils", "spec_version": "2" }]
    }
}
JSON
    export VK_LAYER_PATH=$work
elif ! ls {/usr,}/{share,etc}/vulkan/explicit_layer.d/*khronos_validation.json >/dev/null 2>&1; then
    echo "No validation layer (packages chromium or vulkan-validationlayers): not checked."
    exit 3
fi
[ -f "$suite/manifest.jsonl" ] || { echo "No test suite in $suite: tools/suite.sh makes it."; exit 3; }
ensure_vulkan_driver

# The layer must be heard before its silence means anything.
VK_LOADER_DEBUG=layer SHADERNET_VALIDATION=1 target/debug/shadernet devices >"$work/layers" 2>&1 || true
grep -q 'Insert instance layer.*khronos_validation' "$work/layers" || { echo "The validation layer was not loaded."; exit 1; }

# Case names end in all letters and digits alike, so that some of them make a sample through all families.
filter=.
[ "${1:-}" = all ] || filter='[aeiou][^aeiou]{2}$'
status=0
# textures too, from which such small cases gain nothing
SHADERNET_VALIDATION=1 SHADERNET_TEXELS=always SHADERNET_PIPELINE_CACHE=off RUST_LOG=warn \
    target/debug/shadernet test "$suite/node" --quiet --fallback allow --filter "$filter" >"$work/out" 2>"$work/log" || status=$?
tail -n 3 "$work/out"
if grep -qE 'VUID|Validation (Error|Warning)|VALIDATION \[' "$work/log"; then
    grep -E 'VUID|Validation (Error|Warning)|VALIDATION \[' "$work/log" | cut -c1-400 | sort | uniq -c | sort -rn | head -n 20
    exit 1
fi
echo "Vulkan's validation layer had nothing to say."
