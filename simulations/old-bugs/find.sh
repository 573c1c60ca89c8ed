#!/usr/bin/env bash
# Puts an old bug back into a copy of the tree and demands that the simulator finds it from seeds that nobody has tried.
#   find.sh NAME [FIRST-SEED] [--record]
# NAME is a patch in this folder; its first lines say which promise it breaks and in which worlds it is looked for. Without
# FIRST-SEED the seeds begin at a random one, which is printed. With --record it is looked for in the small world NAME.yaml
# instead, and the run that fails is kept as simulations/regressions/NAME.json.
# A seed that breaks another promise is told and passed over, unless it does so without the bug too.
# Exit codes: 0 found by the name of its promise · 1 not found, or a promise breaks without the bug · 64 usage
set -euo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 64; }

here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
record=
words=()
for word in "$@"; do
  case $word in
    --record) record=yes ;;
    -*) usage ;;
    *) words+=("$word") ;;
  esac
done
[ "${#words[@]}" -ge 1 ] && [ "${#words[@]}" -le 2 ] || usage
name=${words[0]}
# Above every seed that anybody types by hand.
first=${words[1]:-$((1000000 + RANDOM * 32768 + RANDOM))}
patch=$here/$name.patch
[ -f "$patch" ] || { echo "error: there is no $patch; nothing was built" >&2; exit 64; }
[[ $first =~ ^[0-9]+$ ]] || usage
header() { sed -n "s/^# $1: //p" "$patch"; }
promise=$(header promise) seeds=$(header seeds)
read -ra world <<<"$(header world)"

copy=$(mktemp -d "${TMPDIR:-/tmp}/patchmesh-old-bug.XXXXXX")
trap 'rm -rf "$copy"' EXIT
# What cargo needs, and nothing that was built. A target folder of its own: with the tree's own, cargo would take the patched
# crates for the real ones.
tar -C "$tree" --exclude='./target' --exclude='./.git' --exclude='target' -cf - . | tar -C "$copy" -xf -
(cd "$copy" && patch -p1 --no-backup-if-mismatch <"$patch")
# Newer than whatever was built here for another bug.
find "$copy" -name '*.rs' -exec touch {} +
export CARGO_TARGET_DIR=${OLD_BUGS_TARGET_DIR:-$tree/target/old-bugs}
(cd "$copy" && cargo build --release --locked -p patchmesh-simulations)
sim=$CARGO_TARGET_DIR/release/patchmesh-sim

cd "$tree"
[ -z "$record" ] || world=(--scenario "simulations/old-bugs/$name.yaml") seeds=5000
last=$((first + seeds - 1))
echo "$name: $promise, ${world[*]}, up to $seeds seeds from $first on"
seed=$first failing=
while [ "$seed" -le "$last" ]; do
  found=$("$sim" sweep --seeds "$seed..$last" "${world[@]}" -o json 2>"$copy/sweep.log") && break
  seed=$(sed -n 's/.*"firstFailing":\([0-9]*\).*/\1/p' <<<"$found")
  [ -n "$seed" ] || { cat "$copy/sweep.log" >&2; echo "error: the sweep failed, and names no seed" >&2; exit 1; }
  broken=$(grep -o '"[a-z]*":{"checked":[0-9]*,"violations":[1-9][0-9]*}' <<<"$found" | cut -d'"' -f2 || true)
  # One step may break a promise twice over, or two promises; and what one bug does may look like another.
  if grep -qx "$promise" <<<"$broken"; then
    failing=$seed
    break
  fi
  # What breaks without the bug too is no work of the bug, and not passed over.
  (cd "$tree" && CARGO_TARGET_DIR=$tree/target cargo build --quiet --release --locked -p patchmesh-simulations)
  if ! "$tree/target/release/patchmesh-sim" run --seed "$seed" "${world[@]}" >"$copy/without.log" 2>&1; then
    cat "$copy/without.log" >&2
    echo "error: seed $seed breaks a promise without $name too" >&2
    exit 1
  fi
  echo "note: seed $seed breaks ${broken:-nothing}, not $promise; without $name it is clean" >&2
  seed=$((seed + 1))
done
if [ -z "$failing" ]; then
  echo "error: $seeds seeds from $first on do not find $name" >&2
  exit 1
fi
echo "$name: found by $promise after $((failing - first + 1)) seeds: patchmesh-sim run --seed $failing ${world[*]}"
trace=simulations/regressions/$name.json
if [ -n "$record" ]; then
  # Exits with 1, because the promise is broken.
  "$sim" run --seed "$failing" "${world[@]}" --trace "$trace" >/dev/null 2>&1 || true
fi
# A trace loses its bite when the world has changed so much that its draws lead elsewhere.
if "$sim" replay "$trace" >/dev/null 2>&1; then
  echo "note: $trace does not show the bug any more: record it again with --record" >&2
fi
