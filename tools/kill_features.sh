#!/bin/sh
# kill_features.sh [KILLS [OUT]] - kills runs with SIGKILL while they make a feature cache, until one is whole or
# KILLS are done, lets the last one end, and compares its model with that of a run that was left alone.
set -eu
kills=${1:-40} out=${2:-out/kill_features} blip2=${BLIP2:-bin/blip2}
mkdir -p "$out"
rm -rf "$out"/alone* "$out"/killed*
$blip2 dataset make scenes "$out/data" --force --train 64 --val 2 --test 2 --test-unseen 2 --documents 200 --quiet
$blip2 tokenize --train bert --size 200 --out "$out/vocab" --quiet "$out/data/text.txt"
cat >"$out/config.yaml" <<END
model:
  bert_tokenizer: $out/vocab
  freeze: [visual_encoder]
  vit: {kind: eva, image_size: 32, patch: 8, width: 192, depth: 8, heads: 4, hidden: 768, init_std: 0.05}
  qformer: {num_query_token: 4, width: 32, layers: 2, heads: 2, hidden: 64, cross_attention_freq: 2, positions: 64}
  embed_dim: 16
datasets: {root: $out/data, vis_processor: {train: {name: blip_image_train}}}
run: {task: stage1, batch_size_train: 8, max_iters: 16, warmup_steps: 4, cache_views: 8, cache_dtype: f32}
END
run() { $blip2 train "$out/config.yaml" run.output_dir="$out/$1" run.feature_cache="$out/$1.h5" >"$out/$1.txt" 2>&1; }
run alone
done=0
while [ ! -f "$out/killed.h5" ] && [ $done -lt "$kills" ]; do
    $blip2 train "$out/config.yaml" run.output_dir="$out/killed" run.feature_cache="$out/killed.h5" \
        >"$out/killed.txt" 2>&1 &
    while [ ! -f "$out/killed.h5.part" ] && kill -0 $! 2>/dev/null; do sleep 0.05; done
    sleep "0.$(awk -v n=$done 'BEGIN { srand(n); print int(1 + 8 * rand()) }')"
    kill -9 $! 2>/dev/null && done=$((done + 1))
    wait $! 2>/dev/null || true
done
run killed
grep 'to be computed' "$out/killed.txt" || true
if cmp "$out/alone/model.h5" "$out/killed/model.h5"; then
    echo "$done kills: the same bytes"
else
    exit 1
fi
