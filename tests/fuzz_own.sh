#!/bin/sh
# libFuzzer on the parsers of our own (tests/fuzz/targets.c): fuzz_own.sh SECONDS TARGET...
# Inputs that were worth keeping stay in build/fuzz/TARGET for the next time; seeds come from ../shared/golden where it
# is there. Ends non-zero at the first fault, whose input stands in build/fuzz.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
shift
golden=../shared/golden
if [ ! -x bin/fuzz ]; then
    echo "fuzz: bin/fuzz is not there: make fuzz builds it with clang"
    exit 1
fi
for target in "$@"; do
    kept=build/fuzz/$target
    mkdir -p "$kept"
    [ "$target" != pickle ] || [ ! -d "$golden" ] || ! command -v unzip >/dev/null || for seed in "$golden"/formats/*.pth; do
        unzip -p "$seed" '*/data.pkl' >"$kept/$(basename "$seed").pkl" 2>/dev/null || true
    done
    case $target in
        picture) seeds="$golden/images/files/*" ;;
        words)   seeds="$golden/hf/*/vocab.txt" ;;
        unigram) seeds="$golden/hf/*/spiece.model" ;;
        json)    seeds="$golden/hf/*/tokenizer.json" ;;
        safetensors) seeds="$golden/formats/*.safetensors $golden/formats/bad/*.safetensors" ;;
        torch)   seeds="$golden/formats/*.pth $golden/formats/bad/*.pth" ;;
        index)   seeds="$golden/hf/*/*.index.json" ;;
        hf)      seeds="$golden/hf/*/config.json" ;;
        *)       seeds="" ;;
    esac
    for seed in $seeds; do
        [ ! -f "$seed" ] || cp -f "$seed" "$kept/$(basename "$(dirname "$seed")")-$(basename "$seed")"
    done
    log=build/fuzz/$target.log
    if ! BLIP2_FUZZ=$target bin/fuzz -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -max_len=65536 \
        -artifact_prefix="build/fuzz/$target-" "$kept" >"$log" 2>&1; then
        grep -a -m 3 'ERROR\|runtime error\|SUMMARY' "$log" || tail -n 5 "$log"
        echo "$target: a fault; its input stands in build/fuzz, the report in $log"
        exit 1
    fi
    echo "$target: $(grep -a '^Done' "$log" | tail -n 1), no fault"
done
