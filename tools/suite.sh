#!/usr/bin/env bash
# ONNX's backend test suite, on every Vulkan driver that is here with no fallback, and on the interpreter. Which cases do
# not pass, and why, stands in tests/suite-expectations.txt: any other outcome fails. SHADERNET_SUITE names a folder that
# holds the suite already; otherwise it is made in target/suite, with packages from PyPI.
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
suite=${SHADERNET_SUITE:-target/suite}
cores=$(getconf _NPROCESSORS_ONLN)

make_suite() {
    local venv=target/suite-venv
    python3 -m venv "$venv" 2>/dev/null || { apt_install python3-venv && python3 -m venv "$venv"; } || return 1
    "$venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 ml_dtypes==0.6.0 || return 1
    "$venv/bin/python" tools/suite/make_suite.py "$suite"
}

if [ ! -f "$suite/manifest.jsonl" ] && ! make_suite; then
    echo "ONNX's test suite could not be made: it needs Python and PyPI."
    exit 3
fi
# with the examples, so that it is the one that `cargo test` builds: their dependencies have more features
cargo build --quiet --workspace --bin shadernet --examples
suite() {
    target/debug/shadernet test "$suite" --expect tests/suite-expectations.txt --jobs "$cores" "$@"
}
echo "ONNX's test suite on the interpreter."
suite --backend cpu
ensure_vulkan_driver
echo "ONNX's test suite on the default GPU."
suite --fallback deny
echo "Small networks with each pass left out."
target/debug/shadernet test "$suite/light" --each-pass --quiet --jobs "$cores" --filter 'squeezenet|shufflenet|inception_v1'
if have_swiftshader; then
    echo "ONNX's test suite on SwiftShader, with the base profile."
    on_swiftshader suite --fallback deny
fi
