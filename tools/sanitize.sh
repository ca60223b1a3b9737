#!/usr/bin/env bash
# Races and undefined behaviour: threads on shared sessions, devices and caches under ThreadSanitizer, and the unsafe code
# that calls neither the system nor a driver under Miri. `tools/sanitize.sh [threads|memory]`, by default both. Needs a
# nightly toolchain with the components rust-src and miri; without them there is nothing to do (exit 3).
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
toolchain=${SHADERNET_NIGHTLY:-nightly}
has() { rustup component list --toolchain "$toolchain" --installed 2>/dev/null | grep -q "^$1"; }

threads() {
    has rust-src || { echo "No toolchain $toolchain with rust-src: threads were not checked."; return 3; }
    ensure_vulkan_driver
    local host
    host=$(rustc -vV | sed -n 's/^host: //p')
    # the driver and its loader are not instrumented: what they do inside is their own
    export TSAN_OPTIONS="halt_on_error=1 ignore_noninstrumented_modules=1"
    export SHADERNET_REQUIRE_GPU=1 SHADERNET_RUNS=${SHADERNET_RUNS:-10000}
    RUSTFLAGS=-Zsanitizer=thread CARGO_TARGET_DIR=target/sanitize cargo "+$toolchain" test -Zbuild-std --target "$host" \
        --test endurance --test session --test binding
}

memory() {
    has miri || { echo "No toolchain $toolchain with miri: memory was not checked."; return 3; }
    MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-deterministic-floats" CARGO_TARGET_DIR=target/sanitize cargo "+$toolchain" miri test --lib -- cpu:: ops::matmul
}

for part in ${*:-threads memory}; do
    "$part"
done
