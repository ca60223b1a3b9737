#!/usr/bin/env bash
# The package for web pages, which needs npm for ONNX Runtime's JavaScript API.
#   tools/web.sh          builds target/web/shadernet, for npm and bundlers, and target/web/site, for pages without one
#   tools/web.sh test     builds, and tests in a headless Chromium: the package, every shader by the browser's compiler, models
#                         of target/models, and cases of operators (`all` behind it: all of them, on all cores)
#   tools/web.sh serve    builds, and shows the demo at http://localhost:8000
#   tools/web.sh bench MODEL…    builds, and times models (paths within the checkout) in turns with onnxruntime-web
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
target=wasm32-unknown-unknown
out=target/web

# rustup's target where it is installed, else Debian's compiler with its sources
wasm_cargo() {
    if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
        cargo "$@" --target $target --target-dir target/wasm
        return
    fi
    if [ ! -x /usr/bin/rustc ] || [ ! -d /usr/lib/rustlib/src/rust/library ]; then
        apt_install rustc-web rust-web-src || { echo "No compiler for $target: not built."; exit 3; }
    fi
    local linker
    linker=$(rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker \
        cargo "$@" -Zbuild-std=std,panic_abort --target $target --target-dir target/wasm
}

# CRATE OUT: the crate's module and its JavaScript
bind() {
    target/bindgen/debug/shadernet-bindgen "target/wasm/$target/web/$1.wasm" "$2"
}

# A package of ONNX Runtime, at the version whose API ours has.
fetch() {
    [ ! -f "$out/$1/package/package.json" ] || return 0
    local version
    version=$(sed -n 's/.*"onnxruntime-common": "\(.*\)".*/\1/p' tools/web/package.json)
    mkdir -p "$out/$1"
    (cd "$out/$1" && npm pack --silent "$1@$version" >/dev/null && tar -xzf ./*.tgz) ||
        { echo "$1 could not be fetched from npm."; exit 3; }
}

build() {
    wasm_cargo build --quiet --profile web -p shadernet-web "$@"
    command -v npm >/dev/null || { echo "No npm: the package for web pages was not built."; exit 3; }
    cargo build --quiet --manifest-path tools/web/bindgen/Cargo.toml --target-dir target/bindgen
    rm -rf $out/shadernet $out/site
    bind shadernet_web $out/shadernet
    cp tools/web/package.json tools/web/README.md tools/web/js/* LICENSE-* $out/shadernet
    # what pages load without a bundler lies beside the rest
    fetch onnxruntime-common
    mkdir -p $out/site/onnxruntime-common
    cp $out/shadernet/*.js $out/shadernet/*.wasm $out/site
    cp $out/onnxruntime-common/package/dist/esm/*.js $out/site/onnxruntime-common
    sed -i.bare 's|from "onnxruntime-common"|from "./onnxruntime-common/index.js"|' $out/site/{index,backend}.js
    rm $out/site/*.bare
}

page() {
    python3 tools/web/test/browser.py "$1" tools/web/{test,demo} $out/{site,cases,onnxruntime-web/package/dist} .
}

need_browser() {
    command -v chromium >/dev/null || [ -n "${SHADERNET_BROWSER:-}" ] || apt_install chromium ||
        { echo "No browser: the package for web pages was not tested."; exit 3; }
}

case ${1:-} in
    "") build ;;
    serve)
        build
        echo "http://localhost:8000/"
        python3 tools/web/test/browser.py --serve 8000 tools/web/demo $out/site .
        ;;
    bench)
        shift
        need_browser
        build
        fetch onnxruntime-web
        page "bench.html?models=$(IFS=,; echo "$*")&rounds=${SHADERNET_ROUNDS:-5}"
        ;;
    test)
        need_browser
        build -p shadernet-web-cases
        bind shadernet_web_cases $out/cases
        page package.html
        page shaders.html
        # those that tools/models.sh has fetched
        models=$(find target/models -maxdepth 2 -name model.onnx -size -24M 2>/dev/null | xargs -r -n1 dirname | sort | paste -sd, -)
        [ -z "$models" ] || page "models.html?folders=$models"
        if [ "${2:-}" = all ]; then
            # a browser compiles its shaders on one core
            page 'cases.html?shard=0/2' &
            other=$!
            page 'cases.html?shard=1/2' || { wait "$other"; exit 1; }
            wait "$other"
        else
            page 'cases.html?shard=3/16'
        fi
        ;;
    *) echo "tools/web.sh [test [all] | serve | bench MODEL…]" && exit 2 ;;
esac
