#!/usr/bin/env bash
# All tests, on every Vulkan driver that is here; installs a software driver where there is none. Extra arguments go to
# `cargo test`.
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
ensure_vulkan_driver || { echo "The tests need a Vulkan driver."; exit 1; }
export SHADERNET_REQUIRE_GPU=1
cargo test --workspace "$@"

# A second, independent driver, held to what every WebGPU device has: SwiftShader, which Chromium brings along.
swiftshader=/usr/lib/chromium/vk_swiftshader_icd.json
if [ ! -f "$swiftshader" ] && [ "$(uname -s)" = Linux ] && [ -n "${CI:-}" ]; then
    echo "Installing Chromium for its SwiftShader driver."
    apt_install chromium || echo "Chromium could not be installed: tested on one driver only."
fi
if [ -f "$swiftshader" ]; then
    echo "Once more on SwiftShader, with the base profile."
    VK_DRIVER_FILES=$swiftshader VK_ICD_FILENAMES=$swiftshader SHADERNET_PROFILE=base \
        cargo test -p shadernet --test ops --test session --test models --test properties "$@"
fi
