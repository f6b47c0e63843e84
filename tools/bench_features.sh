#!/bin/sh
# bench_features.sh [PICTURES [OUT]] - an epoch with a frozen ViT-L/14 at 224 (23 blocks, random weights, as BLIP-2
# runs it) against an epoch that reads its features from run.feature_cache. The Q-Former is small, so that the tower
# is what is timed; the first line of each log is left out. About 3 GB of memory; minutes.
set -e
pictures=${1:-12} out=${2:-out/bench_features} blip2=${BLIP2:-bin/blip2}
mkdir -p "$out"
$blip2 dataset make scenes "$out/data" --force --size 224 --train "$pictures" --val 1 --test 1 --documents 200 --quiet
$blip2 tokenize --train bert --size 200 --out "$out/vocab" "$out/data/text.txt" >/dev/null
cat >"$out/config.yaml" <<END
model:
  bert_tokenizer: $out/vocab
  freeze: [visual_encoder]
  vit: {kind: clip, image_size: 224, patch: 14, width: 1024, depth: 23, heads: 16, hidden: 4096, init_std: 0.02}
  qformer: {num_query_token: 4, width: 64, layers: 2, heads: 2, hidden: 128, cross_attention_freq: 2, positions: 64}
  embed_dim: 16
datasets: {root: $out/data}
run: {task: stage1, batch_size_train: 4, max_iters: $((pictures / 4 + 1)), warmup_steps: 1, log_freq: 1, cache_dtype: f16}
END
rm -f "$out/features.h5"
run() { $blip2 train "$out/config.yaml" run.output_dir="$out/$1" $2 2>&1 | grep 'feature cache' || true; }
run computed
run made run.feature_cache="$out/features.h5"
run read run.feature_cache="$out/features.h5"
for name in computed read; do
    python3 - "$name" "$out/$name/log.jsonl" <<'END'
import json, sys
lines = [json.loads(x) for x in open(sys.argv[2])][1:]
print('%-9s %d steps of 4 pictures: %.3f s a picture' % (sys.argv[1], len(lines),
      sum(x['data_ms'] + x['step_ms'] for x in lines) / 4000 / len(lines)))
END
done
ls -l "$out/features.h5" | awk '{ printf "features.h5 has %.1f MB\n", $5 / 1e6 }'
