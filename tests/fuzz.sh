#!/bin/sh
# Bad files of every kind against the program: FLIPS=50 SEED=1 KINDS="safetensors pth" tests/fuzz.sh
# KINDS: hdf5 yaml images tokenizer jsonl safetensors pth; without it all.
# The makers of ../shared/fuzz write labelled files (they need python3, some numpy, h5py or Pillow: what is not
# there is said), bin/judge runs the command that reads each
# and prints a line a kind. Ends non-zero with any fault. PROGRAM=bin/blip2 may be another flavour.
set -eu
cd "$(dirname "$0")/.."
makers=${MAKERS:-../shared/fuzz}
program=$(pwd)/${PROGRAM:-bin/blip2}
if [ ! -d "$makers" ] || ! command -v python3 >/dev/null 2>&1; then
    echo "fuzz: $makers or python3 is not there: nothing is tried"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
unset OPENBLAS_CORETYPE

# A small model and a configuration of the program's own, to be damaged.
small="model.vit.image_size=16 model.vit.patch=8 model.vit.width=16 model.vit.depth=1 model.vit.heads=2
       model.vit.hidden=32 model.contrastive.width=16 model.contrastive.layers=1 model.contrastive.heads=2
       model.contrastive.hidden=32 model.contrastive.embed=12 datasets.root=$work/world run.max_iters=2
       run.batch_size_train=8 run.warmup_steps=1 model.bert_tokenizer=$work/bert"
"$program" dataset make scenes "$work/world" --size 16 --train 32 --val 2 --test 2 --test-unseen 2 --documents 40 \
    --quiet >/dev/null
"$program" tokenize --train bert --size 140 --out "$work/bert" --quiet "$work/world/text.txt"
"$program" tokenize --train bpe --size 300 --out "$work/bpe" --quiet "$work/world/text.txt"
"$program" train configs/demo/vit.yaml $small run.output_dir="$work/vit" --quiet >/dev/null
"$program" train configs/demo/vit.yaml $small run.output_dir="$work/other" --dry-run 2>/dev/null | sed 's/   #.*//' \
    | sed -n '/^ *[a-z0-9_]*:/p' >"$work/base.yaml"
mkdir "$work/words"
cp "$work/bert/vocab.txt" "$work/bpe/vocab.json" "$work/bpe/merges.txt" "$work/words"
[ ! -f "$makers/../golden/tokenizers/t5/spiece.model" ] || cp "$makers/../golden/tokenizers/t5/spiece.model" "$work/words"

status=0
read=                                               # what is said of a file that was read, but is no model
try() {                                             # KIND BASE WORDS...
    kind=$1 base=$2
    shift 2
    case " ${KINDS:-$kind} " in *" $kind "*) ;; *) return 0 ;; esac
    if ! python3 "$makers/make_bad_$kind.py" "$work/$kind" ${base:+--base "$base"} --seed "${SEED:-1}" \
        --flips "${FLIPS:-50}" >"$work/log" 2>&1; then
        module=$(sed -n "s/.*No module named '\\([^']*\\)'.*/\\1/p" "$work/log" | head -n 1)
        if [ -n "$module" ]; then
            echo "$kind: not tried: its maker needs Python's module $module, which is not there"
            return 0
        fi
        echo "$kind: its maker failed: $(tail -n 1 "$work/log")"
        status=1
        return 0
    fi
    bin/judge ${read:+--read "$read"} "$kind" "$work/$kind" "$program" "$@" || status=1
    rm -rf "${work:?}/$kind"
}
try hdf5 "$work/vit/model.h5" inspect {} --json
try yaml "$work/base.yaml" train {} --dry-run
try images "" preprocess {} --size 16 -o {out}
try tokenizer "$work/words" tokenize {}
try jsonl "" dataset inspect {}
try jsonl "" dataset import {} -o {out}
read="neither a LAVIS checkpoint"
try safetensors "" convert {} -o {out}
try pth "" convert {} -o {out}
exit $status
