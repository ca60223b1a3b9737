#!/usr/bin/env bash
# Which way up is this scanned line of text? A trained model on a real picture, on the GPU if there is one.
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
ensure_vulkan_driver || echo "Running on the CPU interpreter instead."
cargo run --release --quiet -p shadernet-cli -- run tests/data/text-direction/model.onnx \
    --input x=tests/data/text-direction/ticket.png --shape x=1,3,48,192 --channels bgr --mean 0.5 --std 0.5 \
    --labels tests/data/text-direction/labels.txt "$@"
