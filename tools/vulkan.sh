# Sourced by the scripts beside it: makes sure that there is a Vulkan driver to run on, a software one if need be.

# Mesa's device-select layer looks for a display and says so on standard error.
export NODEVICE_SELECT=1

have_vulkan_driver() {
    [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && return 0
    ls /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json >/dev/null 2>&1
}

apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    local sudo=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || return 1
        sudo=sudo
    fi
    $sudo apt-get update -q >/dev/null 2>&1
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@" >/dev/null 2>&1
}

ensure_vulkan_driver() {
    [ "$(uname -s)" = Linux ] || return 0
    have_vulkan_driver && return 0
    echo "No Vulkan driver found: installing Mesa's software driver (mesa-vulkan-drivers)."
    apt_install mesa-vulkan-drivers libvulkan1 && have_vulkan_driver && return 0
    echo "Could not install one. On Debian or Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1."
    return 1
}
