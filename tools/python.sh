#!/usr/bin/env bash
# The Python package: builds its wheel into target/wheels, installs it in a fresh environment and runs its tests.
# SHADERNET_PYTHONS names the interpreters to do that with (default: python3); SHADERNET_BACKEND_SUITE=1 runs ONNX's own
# cases too. Further arguments go to pytest.
# `tools/python.sh --library [--release]` makes no wheel: it tests the library that `cargo build --workspace` makes.
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
ensure_vulkan_driver || echo "Testing on the interpreter alone."

new_venv() {
    rm -rf "$2"
    "$1" -m venv "$2" 2>/dev/null || { rm -rf "$2" && apt_install python3-venv && "$1" -m venv "$2"; }
}

install() {
    local venv=$1
    shift
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}

# What the tests are held against; for older Pythons there is no ONNX Runtime of that version, and none is needed.
test_packages() {
    install "$1" numpy ml_dtypes pytest pillow onnx==1.23.2 onnxruntime==1.32.0 2>/dev/null ||
        install "$1" numpy ml_dtypes pytest pillow onnx
}

if [ "${1:-}" = --library ]; then
    shift
    profile=debug flags=
    if [ "${1:-}" = --release ]; then
        profile=release flags=--release
        shift
    fi
    venv=target/python/venv
    if ! "$venv/bin/python" -c "import ml_dtypes, onnx, PIL, pytest" 2>/dev/null; then
        { new_venv python3 "$venv" && test_packages "$venv"; } || {
            echo "The Python package was not tested: that needs Python and PyPI."
            exit 3
        }
    fi
    # with the examples, as tools/suite.sh
    cargo build --quiet --workspace --lib --examples $flags
    rm -rf target/python/shadernet
    cp -r tools/python/python/shadernet target/python/
    for library in "target/$profile"/{lib_shadernet.so,lib_shadernet.dylib}; do
        [ ! -f "$library" ] || cp "$library" target/python/shadernet/_shadernet.abi3.so
    done
    PYTHONPATH=$PWD/target/python "$venv/bin/python" -m pytest -q tools/python/tests "$@"
    exit
fi

new_venv python3 target/python/maturin
install target/python/maturin "maturin>=1.9,<2"
rm -f target/wheels/shadernet-*.whl
target/python/maturin/bin/maturin build --quiet --release --locked --manifest-path tools/python/Cargo.toml --out target/wheels
for python in ${SHADERNET_PYTHONS:-python3}; do
    "$python" --version
    venv=target/python/fresh
    new_venv "$python" "$venv"
    install "$venv" target/wheels/shadernet-*.whl
    test_packages "$venv"
    "$venv/bin/python" -m pytest -q tools/python/tests "$@"
done
