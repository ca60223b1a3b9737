#!/usr/bin/env bash
# Checks that the library compiles for the browser. Uses rustup's wasm target where it is installed, else Debian's
# compiler with its sources.
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
target=wasm32-unknown-unknown
if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
    exec cargo check --lib --target $target --target-dir target/wasm
fi
if [ ! -x /usr/bin/rustc ] || [ ! -d /usr/lib/rustlib/src/rust/library ]; then
    apt_install rustc-web rust-web-src || { echo "No compiler for $target: not checked."; exit 0; }
fi
linker=$(rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld
RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker \
    cargo check --lib -Zbuild-std=std,panic_abort --target $target --target-dir target/wasm
