#!/usr/bin/env bash
# Published vulnerabilities of the locked dependencies, by RustSec's database. Needs cargo-audit (`cargo install cargo-audit
# --locked`) and GitHub, or SHADERNET_ADVISORIES, a clone of the database; without them there is nothing to do (exit 3).
set -eu
cd "$(dirname "$0")/.."
command -v cargo-audit >/dev/null || { echo "cargo-audit is not installed: advisories were not checked."; exit 3; }
database=()
[ -z "${SHADERNET_ADVISORIES:-}" ] || database=(--db "$SHADERNET_ADVISORIES" --no-fetch --stale)
for lock in Cargo.lock tools/fuzz/Cargo.lock; do
    cargo-audit audit "${database[@]}" --file "$lock"
done
