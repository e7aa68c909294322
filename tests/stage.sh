# shellcheck shell=bash
# What tests/run and .ci/run share: where builds go, and stages that say how long they took.

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/matrix-voip/target}
export CARGO_TERM_COLOR=never

# Cargo tells the packages of two checkouts that share a target folder apart by nothing but the age
# of their files, and would run the other's tests. A profile of its own for each checkout's core,
# different in a value that matters to nobody, separates them; dependencies stay shared.
CHECKOUT=$(($(cksum <<<"$PWD" | cut -d' ' -f1) % 90000 + 1000))
cargo() {
  command cargo --config "profile.dev.package.matrix-voip.codegen-units=$CHECKOUT" "$@"
}

FAILED_STAGES=()

# minutes SECONDS: as "1.5 min".
minutes() {
  printf '%d.%d min' $(($1 / 60)) $(($1 % 60 / 6))
}

# stage NAME COMMAND...: runs the command without standard input. A failure is remembered, and the
# stages after it still run. (Bash switches `set -e` off inside: functions return their failures.)
stage() {
  local name=$1 from=$SECONDS verdict=ok
  shift
  echo "== $name"
  "$@" </dev/null || { verdict=FAILED FAILED_STAGES+=("$name"); }
  echo "== $name: $verdict, $(minutes $((SECONDS - from)))"
  [ "$verdict" = ok ]
}

# require_tools: Rust and a C compiler are all that is needed, and nothing goes without them.
require_tools() {
  local tool
  for tool in cargo rustc; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: install Rust 1.95 (https://rustup.rs)" >&2; exit 2; }
  done
  command -v "${CC:-cc}" >/dev/null || { echo "no C compiler (${CC:-cc}): Rust links with it, and aws-lc-sys builds its crypto with it; install gcc or clang, or set CC" >&2; exit 2; }
  rustc --version
}

# What every stage tells cargo, so that nothing is built twice; see sound_cards.
ALL_FEATURES=(--all-features)
WITHOUT_SOUND_CARDS=no

alsa_headers() {
  [ "$(uname -s)" != Linux ] || pkg-config --exists alsa 2>/dev/null
}

# features_but NAME: all features of the workspace without that one, as cargo takes them.
features_but() {
  awk -v but="$1" '/^\[/ { on = $0 == "[features]" }
    on && /^[a-z0-9-]+ = / && $1 != but && !seen[$1]++ { printf "%s%s", comma, $1; comma = "," }' \
    Cargo.toml adapters/*/Cargo.toml examples/Cargo.toml examples/*/Cargo.toml tests/real/Cargo.toml
}

# sound_cards: the feature `devices` needs ALSA's headers on Linux. Installs them, where it can; else
# everything is built without that feature. To be called before anything is built with all features.
sound_cards() {
  alsa_headers || tests/real/setup sound-cards
  alsa_headers && return
  ALL_FEATURES=(--features "$(features_but devices)")
  WITHOUT_SOUND_CARDS=yes
  echo "without the feature devices: install libasound2-dev and pkg-config"
}
