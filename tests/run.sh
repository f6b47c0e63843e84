#!/bin/sh
# Runs the tests of both builds; the double one last, so that its Check summary closes the output.
set -u
cd "$(dirname "$0")/.."
status=0
echo "== float =="
bin/test || status=1
echo "== double =="
bin/test-f64 || status=1
exit $status
