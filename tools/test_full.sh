#!/bin/sh
# make test-full: a folder in the published layout of BLIP-2 with OPT-2.7B, and one with FlanT5-XL, both of random
# numbers in bfloat16: converted, inspected, a picture captioned with 5 beams, each within its time and memory. Says
# what it needs before it begins, and removes what it made, also when it fails or is interrupted.
#   sh tools/test_full.sh [opt-2.7b] [flan-t5-xl]        OUT=folder (default out), GOLDEN=../shared/golden
set -eu
cd "$(dirname "$0")/.."
OUT=${OUT:-out}
GOLDEN=${GOLDEN:-../shared/golden}
WORK=$OUT/full
failed=0
say() { printf 'test-full: %s\n' "$*"; }
check() {                                # check WHAT FOUND LIMIT: fails if FOUND is above LIMIT
    if awk "BEGIN { exit !($2 <= $3) }"; then say "ok    $1: $2, limit $3"; else say "FAIL  $1: $2, limit $3"; failed=1; fi
}
same() { if [ "$2" = "$3" ]; then say "ok    $1: $2"; else say "FAIL  $1: $2, expected $3"; failed=1; fi; }

# ---- what it needs
need_disk=20 need_memory=12
mkdir -p "$OUT"
disk=$(df -Pk "$OUT" | awk 'NR == 2 { print int($4 / 1048576) }')
memory=$(awk '/MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)
say "needs $need_disk GiB of disk in $OUT (free: $disk) and $need_memory GiB of memory (available: $memory)"
[ "$disk" -ge $need_disk ] || { say "not enough disk"; exit 1; }
[ "$memory" -ge $need_memory ] || { say "not enough memory"; exit 1; }
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM
rm -rf "$WORK"
mkdir -p "$WORK"

# ---- numbers of parameters, from the published sizes alone
vision=$((1408 + 257*1408 + 1408*3*14*14 + 1408 + 39*(2*2*1408 + 3*1408*1408 + 2*1408 + 1408*1408 + 1408 + 2*1408*6144 + 6144 + 1408)))
layer=$((4*(768*768 + 768) + 2*768 + 2*768*3072 + 3072 + 768 + 2*768))
cross=$((2*(768*768 + 768) + 2*(768*1408 + 768) + 2*768))
qformer=$((32*768 + 2*768 + 12*layer + 6*cross + 2*1408))
opt=$((50304*2560 + 2050*2560 + 32*(4*(2560*2560 + 2560) + 2*2560*10240 + 10240 + 2560 + 4*2560) + 2*2560 + 768*2560 + 2560))
block=$((4*2048*2048 + 3*2048*5120 + 2*2048))
t5=$((2*32128*2048 + 24*block + 24*(block + 4*2048*2048 + 2048) + 2*32*32 + 2*2048 + 768*2048 + 2048))

# ---- words: the golden files' where they are, else learned from the documentation
words() {
    case $1 in
    opt-2.7b) from=$GOLDEN/tokenizers/gpt2 ;;
    flan-t5-xl) from=$GOLDEN/tokenizers/t5 ;;
    esac
    if [ -d "$from" ]; then
        cp "$from"/* "$2"/
        chmod u+w "$2"/*
    else
        cat docs/*.md >"$WORK"/text
        bin/blip2 tokenize --train bpe --size 2000 --out "$2" --quiet "$WORK"/text
    fi
}

one() {
    name=$1 parameters=$2
    folder=$WORK/$name model=$WORK/$name.h5
    say "---- $name"
    bin/full-model make "$name" "$folder"
    words "$name" "$folder"
    bin/full-model run bin/blip2 convert "$folder" -o "$model" --quiet 2>"$WORK"/log || { cat "$WORK"/log; failed=1; return; }
    grep full-model "$WORK"/log
    check "seconds of convert" "$(sed -n 's/.*full-model: \([0-9.]*\) seconds.*/\1/p' "$WORK"/log)" 300
    check "MiB of memory of convert" "$(sed -n 's/.*at most \([0-9]*\) MiB.*/\1/p' "$WORK"/log)" 2048
    rm -rf "$folder"
    bytes=$(stat -c %s "$model")
    bin/full-model run bin/blip2 inspect "$model" --json >"$WORK"/inspect 2>"$WORK"/log || { cat "$WORK"/log; failed=1; return; }
    cat "$WORK"/inspect
    grep full-model "$WORK"/log
    same "parameters" "$(sed -n 's/.*"parameters":\([0-9]*\).*/\1/p' "$WORK"/inspect)" "$parameters"
    used=$(sed -n 's/.*at most \([0-9]*\) MiB.*/\1/p' "$WORK"/log)
    check "memory of the loaded model over its file" "$(awk "BEGIN { printf \"%.3f\", $used * 1048576 / $bytes }")" 1.1
    bin/full-model run bin/blip2 caption "$model" "$image" --beams 5 --max-new-tokens 12 --times --json >"$WORK"/caption \
        2>"$WORK"/log || { cat "$WORK"/log; failed=1; return; }
    cat "$WORK"/caption
    grep full-model "$WORK"/log
    check "MiB of memory of caption" "$(sed -n 's/.*at most \([0-9]*\) MiB.*/\1/p' "$WORK"/log)" 12288
    rm -f "$model"
}

image=docs/pictures/report.png
for which in ${*:-opt-2.7b flan-t5-xl}; do
    case $which in
    opt-2.7b) one opt-2.7b $((vision + qformer + opt)) ;;
    flan-t5-xl) one flan-t5-xl $((vision + qformer + t5)) ;;
    *) say "unknown: $which; expected opt-2.7b or flan-t5-xl"; exit 2 ;;
    esac
done
[ $failed = 0 ] && say "all ok"
exit $failed
