# Sourced by the scripts beside it: makes sure that there is a Vulkan driver to run on, a software one if need be.

# Mesa's device-select layer looks for a display and says so on standard error.
export NODEVICE_SELECT=1

# A second, independent driver, held to what every WebGPU device has. Chromium brings it along.
swiftshader=/usr/lib/chromium/vk_swiftshader_icd.json

have_swiftshader() {
    [ -f "$swiftshader" ]
}

on_swiftshader() {
    VK_DRIVER_FILES=$swiftshader VK_ICD_FILENAMES=$swiftshader SHADERNET_PROFILE=base "$@"
}

have_vulkan_driver() {
    [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && return 0
    local manifest
    for manifest in {/usr/share,/etc,/usr/local/share}/vulkan/icd.d/*.json; do
        [ -f "$manifest" ] && return 0
    done
    return 1
}

apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    local sudo=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || return 1
        sudo=sudo
    fi
    local log status=0
    log=$(mktemp)
    $sudo apt-get update -q >"$log" 2>&1 || true
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@" >>"$log" 2>&1 || status=$?
    [ "$status" = 0 ] || tail -n 20 "$log"
    rm -f "$log"
    return "$status"
}

ensure_vulkan_driver() {
    [ "$(uname -s)" = Linux ] || return 0
    have_vulkan_driver && return 0
    echo "No Vulkan driver found: installing Mesa's software driver (mesa-vulkan-drivers)."
    apt_install mesa-vulkan-drivers libvulkan1 && have_vulkan_driver && return 0
    echo "Could not install one. On Debian or Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1."
    return 1
}
