#!/bin/sh
# Runs the tests of both builds; the double one last, so that its Check summary closes the output.
set -u
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}      # some tests ask for more threads than there are cores
cd "$(dirname "$0")/.."
export LSAN_OPTIONS="suppressions=$(pwd)/tests/leaks.supp:print_suppressions=0"      # read by SAN=address builds alone
status=0
echo "== float =="
bin/test || status=1
echo "== double =="
bin/test-f64 || status=1
exit $status
