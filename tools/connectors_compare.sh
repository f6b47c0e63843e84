#!/bin/sh
# Stage 2 on the demo's world with each way from the picture to the language model: the Q-Former with and without the question in it, one linear
# layer a patch, two with GELU; and the Q-Former before T5 instead of OPT. Needs what `make demo` left in out/demo.
set -eu
cd "$(dirname "$0")/.."
out=out/demo
blip2=${BLIP2:-bin/blip2}
steps=${STEPS:-1200}
seed=${SEED:-42}
[ -f $out/lm/model.h5 ] && [ -f $out/stage1/model.h5 ] || { echo "blip2: error: $out is not there yet; run: make demo" >&2; exit 1; }
towers="model.pretrained=[$out/vit/model.h5,$out/lm/model.h5:opt_model]"      # linear and mlp have no stage 1

run() {     # run NAME CONFIG KEY=VALUE...: trains out/demo/connectors/NAME and asks it
    name=$1 config=$2
    shift 2
    echo "$name, seed $seed, $steps steps"
    $blip2 train "$config" run.max_iters="$steps" run.seed="$seed" run.output_dir=$out/connectors/"$name" --quiet "$@"
    $blip2 evaluate configs/demo/answers.yaml model.file=$out/connectors/"$name"/model.h5 \
        run.output_dir=$out/connectors/"$name"/answers run.controls=false
}

run qformer configs/demo/stage2.yaml
run qformer_unasked configs/demo/stage2.yaml model.question_in_qformer=false
run linear configs/demo/stage2.yaml model.connector=linear model.question_in_qformer=false "$towers"
run mlp configs/demo/stage2.yaml model.connector=mlp model.question_in_qformer=false "$towers"
echo "T5 from nothing, on the world's texts"
$blip2 train configs/demo/lm_t5.yaml run.seed="$seed" run.output_dir=$out/lm_t5 --quiet
run qformer_t5 configs/demo/stage2_t5.yaml

printf '\nstage 2, %s steps of 32 sequences, seed %s; share of exact answers, and of captions with all objects right\n' "$steps" "$seed"
for name in qformer qformer_unasked linear mlp qformer_t5; do
    awk -f tools/figures.awk -v only='^(vqa\.model\.[^.]*|captions\.objects)$' $out/connectors/$name/answers/metrics.json |
        sed "/questions/d; s/vqa\.model\.//; s/^/$name $seed /"
done | awk -f tools/means.awk
