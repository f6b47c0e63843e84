#!/bin/sh
# make scoreboard [STEPS=N] [SEED=N] [FIGURES="F3 D2"]: one line a figure, first what is counted here, then what
# bin/scoreboard tries. STEPS: of the long runs (0: as each figure has it); SEED: of what is drawn at random.
set -u
cd "$(dirname "$0")/.."
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}      # some figures ask for more threads than there are cores
steps=$1
seed=$2
shift 2
status=0

wanted() {
    case " $figures " in "  "|*" $1 "*) return 0 ;; esac
    return 1
}

line() {                                               # id, found, wanted, what
    verdict=ok
    [ "$2" -ge "$3" ] && [ "$3" -gt 0 ] || { verdict=short; status=1; }
    printf '%-3s %-5s %7d %7d  %s\n' "$1" "$verdict" "$2" "$3" "$4"
}

figures="$*"
printf '%-3s %-5s %7s %7s  %s\n' id "" found wanted what
if wanted G1 || wanted G2 || wanted G4; then
    checks=$(mktemp)
    trap 'rm -f "$checks"' EXIT
    bin/blip2-f64 gradcheck all --json --seeds 1 --seed "$seed" >"$checks" || status=1
    ops=$(grep -c '^AG_OP(' autograd/ops.def)
    line G1 "$(head -n "$ops" "$checks" | grep -c '"ok":true')" "$ops" \
         "operations of the tape whose gradient is the slope to 1e-8, double"
    line G2 "$(head -n "$ops" "$checks" | sed 's/.*"variants":\([0-9]*\).*/\1/' | sort -n | head -n 1)" 10 \
         "variants of the operation that has fewest"
    line G4 "$(tail -n +$((ops + 1)) "$checks" | grep -c '"ok":true')" "$(tail -n +$((ops + 1)) "$checks" | wc -l)" \
         "modules, losses and whole models whose gradients are the slopes"
fi
bin/scoreboard "$steps" "$seed" $figures || status=1
exit $status
