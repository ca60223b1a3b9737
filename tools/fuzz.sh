#!/usr/bin/env bash
# Fuzzes import, text form, random graphs on the device, and input files: `tools/fuzz.sh [MINUTES [TARGET…]]`, by default
# ten seconds each. The driver needs no nightly compiler; with one and cargo-fuzz, `cargo fuzz run --fuzz-dir tools/fuzz
# --features libfuzzer TARGET` runs the same targets by coverage.
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
ensure_vulkan_driver
minutes=${1:-}
[ $# = 0 ] || shift
seconds=$([ -n "$minutes" ] && echo $((minutes * 60)) || echo 10)
[ $# != 0 ] || set -- import text arrays graphs
suite=${SHADERNET_SUITE:-target/suite}
CARGO_TARGET_DIR=target/fuzz cargo build --release --quiet --manifest-path tools/fuzz/Cargo.toml --bin fuzz
cd target/fuzz
for target in "$@"; do
    # address space, so that what asks for too much is an end and not a machine that swaps
    (ulimit -v 16777216 && exec release/fuzz "$target" "$seconds" "${SEED:-1}" "../../tests/data" "$(cd ../.. && realpath -m "$suite")")
done
