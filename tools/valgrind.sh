#!/bin/sh
# make test-valgrind [SUITES="base h5"]: suites of bin/test-f64 under memcheck. Each test is a process of its own;
# one that reads what is not its own or was never set, or loses memory for good, fails.
set -u
cd "$(dirname "$0")/.."
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2 CK_DEFAULT_TIMEOUT=0 CK_TIMEOUT_MULTIPLIER=50
suites=${*:-base h5 h5_foreign model_damage config tape arithmetic losses text data image model_file search masks}
exec valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite \
     --suppressions=tools/valgrind.supp bin/test-f64 $suites
