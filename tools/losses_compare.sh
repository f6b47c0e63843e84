#!/bin/sh
# Stage 1 with ITC + ITM + ITG against ITC + ITM alone, at equal steps, data and seeds: does writing captions help retrieval (the paper's
# Table 6)? Needs what `make demo` left in out/demo.
set -eu
cd "$(dirname "$0")/.."
out=out/demo
blip2=${BLIP2:-bin/blip2}
steps=${STEPS:-300}
seeds=${SEEDS:-42 43 44}
[ -f $out/vit/model.h5 ] || { echo "blip2: error: $out is not there yet; run: make demo" >&2; exit 1; }

for seed in $seeds; do
    for losses in with_ITG without_ITG; do
        itg=1
        [ $losses = without_ITG ] && itg=0
        run=$out/losses/$losses-$seed
        echo "$losses, seed $seed, $steps steps"
        $blip2 train configs/demo/stage1.yaml run.loss_weights.itg=$itg run.max_iters=$steps run.seed=$seed run.output_dir=$run --quiet
        $blip2 evaluate configs/demo/retrieval.yaml model.file=$run/model.h5 run.retrieval_pictures=0 run.output_dir=$run/retrieval
    done
done
printf '\nstage 1, %s steps of 32 pairs; retrieval among 300 test pictures, percent; txt: texts for a picture, img: pictures for a text\n' $steps
for seed in $seeds; do
    for losses in with_ITG without_ITG; do
        awk -f tools/figures.awk -v only='^retrieval\.((itc|itm)\.[a-z]+_r1|(itc|itm)\.r_mean|itm_accuracy\.accuracy)$' \
            $out/losses/$losses-$seed/retrieval/metrics.json | sed "s/retrieval\.//; s/^/$losses $seed /"
    done
done | awk -f tools/means.awk
