#!/bin/sh
# Trains a small BLIP-2 from nothing and shows what it learned: pictures, vocabularies, two towers, stage 1, stage 2, tests.
set -eu
cd "$(dirname "$0")/.."
out=out/demo
blip2=bin/blip2
cores=$(nproc 2>/dev/null || echo 2)
half=$(( cores > 1 ? cores / 2 : 1 ))
started=$(date +%s)

say() { printf '\n== %s (%d s)\n' "$1" $(( $(date +%s) - started )); }

rm -rf "$out"
mkdir -p "$out/vocab"
say "1. A world of coloured shapes: pictures, captions, questions with answers"
$blip2 dataset make scenes $out/scenes --quiet --test 300 --test-unseen 300 --val 200 --documents 20000 --wordings 5,2,2,0

say "2. Vocabularies from the text alone"
$blip2 tokenize --train bert --size 400 --out $out/vocab/bert $out/scenes/text.txt
$blip2 tokenize --train bpe --size 700 --out $out/vocab/llm $out/scenes/text.txt

say "3. Two towers from nothing, side by side: a vision transformer (CLIP's loss) and OPT (language modelling)"
$blip2 train configs/demo/lm.yaml --threads $half >$out/lm.txt 2>&1 &
lm=$!
trap 'kill $lm 2>/dev/null' EXIT             # if the other training fails
$blip2 train configs/demo/vit.yaml --threads $half
wait $lm || { cat $out/lm.txt >&2; exit 1; }
trap - EXIT
tail -n 3 $out/lm.txt

say "4. Stage 1: the Q-Former meets the frozen vision tower (ITC + ITM + ITG)"
$blip2 train configs/demo/stage1.yaml

say "5. Stage 2: the queries become soft prompts of the frozen language model"
$blip2 train configs/demo/stage2.yaml

say "6. Captions of test pictures, beside what is there"
for picture in $(ls $out/scenes/test | awk 'NR % 37 == 1'); do
    truth=$(grep -F "\"test/$picture\"" $out/scenes/test.jsonl | sed 's/.*"captions": \["\([^"]*\)".*/\1/')
    printf '  %-52s truth: %s\n' "$($blip2 caption $out/stage2/model.h5 $out/scenes/test/$picture --beams 1 --quiet)" "$truth"
done
first=$(ls $out/scenes/test | head -n 1)
$blip2 answer $out/stage2/model.h5 $out/scenes/test/$first "how many shapes ?" "is there a red square ?" --beams 1 |
    sed "s|^|  test/$first: |"

say "7. Figures: share of exact answers by type; blind: no picture, shuffled: another's picture"
echo "test pictures (no arrangement of theirs was seen in training):"
$blip2 evaluate configs/demo/answers.yaml
echo "pictures with a pair of colour and shape that no text or picture of any stage showed:"
$blip2 evaluate configs/demo/answers.yaml datasets.list=test_unseen.jsonl run.output_dir=$out/unseen
echo "retrieval among 200 test pictures, by ITC and with the best 16 re-ranked by ITM:"
$blip2 evaluate configs/demo/retrieval.yaml
printf 'mean cosine between the query outputs of a picture: %s after stage 1, %s after stage 2\n' \
    "$(tail -n 1 $out/stage1/log.jsonl | sed 's/.*"query_cosine":\([^,]*\).*/\1/')" \
    "$(tail -n 1 $out/stage2/log.jsonl | sed 's/.*"query_cosine":\([^,]*\).*/\1/')"

say "done"
cat <<EOF
Look at $out/scenes/sheet.png. The models are $out/stage1/model.h5 (retrieval) and $out/stage2/model.h5
(captions, answers); every step's losses are in log.jsonl beside them; answers and figures in $out/answers, $out/unseen.
Try: bin/blip2 caption $out/stage2/model.h5 $out/scenes/test/$first
     bin/blip2 answer $out/stage2/model.h5 $out/scenes/test/$first "what colour is the circle ?"
EOF
