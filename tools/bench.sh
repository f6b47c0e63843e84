#!/bin/sh
# The training step of stage 1 at the sizes of docs/speed.md, one JSON line a case. Run it on an idle machine.
set -eu
cd "$(dirname "$0")/.."
small="--hidden 192 --layers 4 --heads 3 --queries 16 --batch 32 --embed 64 --vocab 4000 --tokens 50 --width 192"
bin/blip2 bench stage1 $small --repeats 9
bin/blip2 bench stage1 --batch 8 --repeats 3
bin/blip2 bench stage1 --batch 8 --ragged 8-16 --repeats 3
bin/blip2 bench stage1 --batch 16 --repeats 3
