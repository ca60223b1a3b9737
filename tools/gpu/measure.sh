#!/usr/bin/env bash
# What kernels reach on this machine's GPU: tools/gpu/measure.sh [OUT]. In this order, so that what matters comes first: what
# the adapter has; every operator's cases on it; products of float32 and float16, row kernels, convolutions and attention by
# `shadernet profile`; dispatches that do nothing, and modules with checks; networks by `shadernet bench`, with inputs and
# outputs on the device, before and after `shadernet tune`; PyTorch on the same, where it is installed. Needs a Vulkan driver
# and Python with numpy and onnx. With --built it uses what target/release holds.
set -u
cd "$(dirname "$0")/../.."
built=
if [ "${1:-}" = --built ]; then built=yes; shift; fi
out=${1:-target/gpu}
mkdir -p "$out"
[ -n "$built" ] || cargo build --quiet --release --workspace --bins || exit 1
shadernet=$PWD/target/release/shadernet
export SHADERNET_PIPELINE_CACHE=off
"$shadernet" devices
{ command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv,noheader; } || true
[ -n "$built" ] || cargo test --quiet --release --workspace --test ops 2>&1 | tail -n 20

python3 tools/gpu/models.py "$out/models" || exit 1
python3 tools/gpu/sweep.py "$shadernet" "$out/models" | tee "$out/kernels.txt"
# 200 dispatches that take no time; modules without and with the checks that WGSL asks for
for name in chained apart; do
    echo "200 dispatches, $name: $("$shadernet" bench "$out/models/dispatches_$name.onnx" --resident --runs 40 | head -n 1)"
done 2>&1 | tee "$out/dispatches.txt"
SHADERNET_CHECKED=1 python3 tools/gpu/sweep.py "$shadernet" "$out/models" gemm_f32_4096 gemm_f16_4096 copy_neg softmax_4096 \
    conv3x3_64_56_b32 attention_32x1024x64 | sed 's/^/checked /' | tee "$out/checked.txt"
# as chosen by the model of costs, in float16, then by measured tiles
cache=$out/cache
bench() { "$shadernet" bench "$1" --resident --runs 40 --dim batch="$2" --pipeline-cache "$cache" "${@:3}" | head -n 1; }
for model in "$out"/models/net_*.onnx; do
    name=$(basename "$model" .onnx)
    for batch in 1 8 64; do
        rm -rf "$cache"
        for float16 in "" --float16; do
            case $name-$float16 in *f16---float16) continue ;; esac
            echo "$name, batch $batch $float16: $(bench "$model" $batch $float16)"
            "$shadernet" tune "$model" --dim batch=$batch --pipeline-cache "$cache" $float16 | tail -n 1
            echo "$name, batch $batch $float16, tuned: $(bench "$model" $batch $float16)"
        done
    done
done 2>&1 | tee "$out/networks.txt"
for name in decoder_f32 decoder_f16; do
    "$shadernet" bench "$out/models/$name.onnx" --resident --runs 40 --pipeline-cache off | head -n 1
done 2>&1 | tee "$out/decoders.txt"
for winograd in never always; do
    echo "ResNet50, batch 8, Winograd $winograd: $(SHADERNET_WINOGRAD=$winograd bench "$out/models/net_resnet50.onnx" 8)"
done 2>&1 | tee "$out/winograd.txt"
if python3 -c "import torch; assert torch.cuda.is_available()" 2>/dev/null; then
    python3 tools/gpu/peers.py compile | tee "$out/pytorch.txt"
fi
