#!/bin/sh
# Towers, decoding and a step of stage 2 at the published sizes, random weights, at the settings of docs/speed.md: one
# JSON line a case. About 8 GB of memory and ten minutes, on an idle machine: sh tools/bench_models.sh [vision] [generate] [stage2]
set -eu
cd "$(dirname "$0")/.."
bench() { bin/blip2 bench "$@"; }
vision() {
    for tower in clip_l eva_g; do
        bench vision --tower $tower --dtype f32
        for compute in f32 bf16 bf16-fast; do bench vision --tower $tower --dtype bf16 --compute $compute; done
    done
}
generate() {
    for llm in opt-2.7b flan-t5-xl; do
        for beams in 1 5; do
            for compute in f32 bf16; do bench generate --llm $llm --beams $beams --dtype bf16 --compute $compute; done
            bench generate --llm $llm --beams $beams --dtype int8
        done
    done
}
stage2() { for llm in opt-2.7b flan-t5-xl; do bench stage2 --llm $llm; done; }
for what in ${*:-vision generate stage2}; do
    case $what in
    vision | generate | stage2) $what ;;
    *) echo "bench-models: $what? expected vision, generate or stage2" >&2; exit 2 ;;
    esac
done
