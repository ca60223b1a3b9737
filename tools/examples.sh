#!/usr/bin/env bash
# Runs the examples as a person would, and checks what they say: tools/examples.sh [--debug] [NAME …], those named or all.
set -eu
cd "$(dirname "$0")/.."
. tools/vulkan.sh
ensure_vulkan_driver || { echo "The examples need a Vulkan driver."; exit 1; }
profile=release release=--release
if [ "${1:-}" = --debug ]; then profile=debug release=; shift; fi
built=target/$profile/examples
wanted=${*:-iris similarity voice layout ocr background}
out=target/examples
mkdir -p "$out"

models() {
    for example in $wanted; do
        case $example in
            similarity) echo minilm-l6-int8 ;;
            voice) echo silero-vad-6 ;;
            layout) echo layout-cdla ;;
            ocr) echo ppocr4-det ppocr4-rec ;;
            background) echo isnet-f16 ;;
        esac
    done
}

# Needs the packages' registries, so that a machine without them is no failure of the examples.
if [ -n "$(models)" ] && ! examples/fetch.sh $(models); then
    echo "The examples' models could not be fetched."
    exit 3
fi
cargo build --quiet --workspace --examples $release

# Runs an example; its lines must match each expression, in this order.
check() {
    local example=$1 begun=$SECONDS said rest line pattern
    shift
    local arguments=()
    while [ "$1" != -- ]; do arguments+=("$1"); shift; done
    shift
    echo "== $example"
    said=$("$built/$example" ${arguments[@]+"${arguments[@]}"})
    printf '%s\n(%d s)\n' "$said" $((SECONDS - begun))
    rest=$said
    for pattern in "$@"; do
        if ! line=$(grep -nE -m 1 "$pattern" <<<"$rest"); then
            echo "$example did not say '$pattern', or not in this order."
            exit 1
        fi
        rest=$(tail -n +$((${line%%:*} + 1)) <<<"$rest")
    done
}

for example in $wanted; do
    case $example in
        iris) check iris -- '^5\.1 × 3\.8 .* 100\.0% .* setosa$' '^59 of 60 as the botanist says' ;;
        similarity)
            check similarity -- '^1 is closest to 2 ' '^2 is closest to 1 ' '^3 is closest to 4 ' '^4 is closest to 3 ' \
                '^5 is closest to 6 ' '^6 is closest to 5 '
            ;;
        voice) check voice -- 'speech from  0\.[23].* to  [23]\.' 'speech from  [34]\..* to  [67]\.' ;;
        layout)
            check layout tests/data/pictures/page.jpg "$out/layout.png" -- '  title  .* at \(14[0-9], 6[0-9]\)' \
                '  table caption  ' '9[5-9]%  table  ' '9[0-9]%  figure  .* at \(5[0-9], 5[12][0-9]\)' \
                '  figure caption  ' "drawn in $out/layout.png"
            ;;
        ocr)
            check ocr -- 'Harbour Inn' '12 Lighthouse Road' '2 Espresso +4\.80' '1 Apple cake +3\.60' \
                '1 Lemonade +2\.90' 'TABLE 7 \(upside down\)' 'Total +11\.30' 'Thank you for your visit'
            ;;
        background)
            check background tests/data/pictures/coffee.jpg "$out/background.png" -- \
                ': 4[78]\.[0-9]% of the picture is foreground' "cut out in $out/background.png"
            ;;
        *) echo "There is no example $example."; exit 1 ;;
    esac
done
echo "All examples said what they should."
