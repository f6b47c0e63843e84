#!/bin/sh
# Stage 2 from stage 1 against stage 2 from scratch, at equal steps and seeds (the question of the paper's Fig. 5).
# Needs what `make demo` left in out/demo.
set -eu
cd "$(dirname "$0")/.."
out=out/demo
blip2=${BLIP2:-bin/blip2}
steps=${STEPS:-300}
seeds=${SEEDS:-42 43 44}
[ -f $out/lm/model.h5 ] && [ -f $out/stage1/model.h5 ] || { echo "blip2: error: $out is not there yet; run: make demo" >&2; exit 1; }

for seed in $seeds; do
    for start in stage1 scratch; do
        from=$out/$start/model.h5
        [ $start = scratch ] && from=$out/vit/model.h5
        run=$out/compare/$start-$seed
        echo "from $start, seed $seed, $steps steps"
        $blip2 train configs/demo/stage2.yaml model.pretrained=$from,$out/lm/model.h5:opt_model run.max_iters=$steps \
            run.seed=$seed run.output_dir=$run --quiet
        $blip2 evaluate configs/demo/answers.yaml model.file=$run/model.h5 run.output_dir=$run/answers run.controls=false
    done
done
printf '\nstage 2, %s steps of 32 sequences; share of exact answers, and of captions with all objects right\n' $steps
for seed in $seeds; do
    for start in stage1 scratch; do
        awk -f tools/figures.awk -v only='^(vqa\.model\.[^.]*|captions\.objects)$' $out/compare/$start-$seed/answers/metrics.json |
            sed "/questions/d; s/vqa\.model\.//; s/^/$start $seed /"
    done
done | awk -f tools/means.awk
