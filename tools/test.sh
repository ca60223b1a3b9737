#!/usr/bin/env bash
# All tests, on every Vulkan driver that is here; installs a software driver where there is none. Extra arguments go to
# `cargo test`.
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
ensure_vulkan_driver || { echo "The tests need a Vulkan driver."; exit 1; }
export SHADERNET_REQUIRE_GPU=1
cargo test --workspace "$@"

if [ -n "${CI:-}" ]; then
    echo "A model beyond 2 GiB, which takes 5 GB of memory."
    cargo test --workspace --test large "$@" -- --ignored
fi

echo "The operators once more with the kernels for GPUs."
# without recurrent layers: their kernels for GPUs loop longer than software adapters do
SHADERNET_KERNELS=gpu SHADERNET_OPS=-LSTM,-GRU,-RNN cargo test --workspace --test ops every_case "$@"
products=MatMul,Gemm,MatMulNBits,MatMulInteger,QLinearMatMul,Conv,ConvTranspose,ConvInteger,QLinearConv,Attention
SHADERNET_KERNELS=gpu SHADERNET_OPS=$products cargo test --workspace --test draws "$@"
echo "Products, convolutions and attention with each tile for GPUs, sums in one part and in several."
for tile in 0x1 1x3 2x2 3x1 4x3 5x4 6x1 7x8; do
    SHADERNET_KERNELS=gpu SHADERNET_TILE=$tile SHADERNET_OPS=MatMul,Gemm,Conv,ConvTranspose,Attention \
        cargo test --workspace --test ops every_case "$@"
done
for tile in 3x2 5x4; do
    SHADERNET_KERNELS=gpu SHADERNET_TILE=$tile SHADERNET_OPS=MatMulInteger,QLinearMatMul,ConvInteger,QLinearConv,MatMulNBits,MatMul+Softmax+MatMul \
        cargo test --workspace --test ops every_case "$@"
done
echo "Convolutions by Winograd's algorithm."
for kernels in cpu gpu; do
    SHADERNET_KERNELS=$kernels SHADERNET_WINOGRAD=always SHADERNET_OPS=Conv \
        cargo test --workspace --test ops every_case "$@"
done
# tiles by elements, as Metal and browsers have them
SHADERNET_KERNELS=gpu SHADERNET_PROFILE=base SHADERNET_OPS=MatMul,Gemm cargo test --workspace --test ops every_case "$@"

if ! have_swiftshader && [ "$(uname -s)" = Linux ] && [ -n "${CI:-}" ]; then
    echo "Installing Chromium for its SwiftShader driver."
    apt_install chromium || echo "Chromium could not be installed: tested on one driver only."
fi
if have_swiftshader; then
    echo "Once more on SwiftShader, with the base profile."
    on_swiftshader cargo test --workspace --test session --test binding --test models --test properties "$@"
    # it compiles on one core a process
    shard() { SHADERNET_SHARD=$1/2 SHADERNET_DRAWS=6 on_swiftshader cargo test --workspace --test ops --test draws "${@:2}"; }
    shard 0 "$@" &
    other=$!
    shard 1 "$@" || { wait "$other"; exit 1; }
    wait "$other"
fi

# Needs PyPI, so a machine without it is no failure.
if [ -n "${CI:-}${SHADERNET_SUITE:-}" ] || [ -f target/suite/manifest.jsonl ]; then
    tools/suite.sh || [ $? = 3 ]
    echo "What the driver is given, by Vulkan's own rules."
    tools/validation.sh || [ $? = 3 ]
fi

# All but the one that takes a minute. Need PyPI too.
if [ -n "${CI:-}" ] || [ -d models ]; then
    tools/examples.sh --debug iris similarity voice layout ocr || [ $? = 3 ]
fi

if [ -n "${CI:-}" ] || [ -d target/models ]; then
    echo "Real models."
    tools/models.sh --debug || [ $? = 3 ]
fi

if [ -n "${CI:-}" ] || [ -d target/python/venv ]; then
    echo "The Python package."
    tools/python.sh --library || [ $? = 3 ]
fi
