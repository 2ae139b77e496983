#!/usr/bin/env bash
# The two lint tests: is the code formatted, and does clang-tidy find nothing?
#
#   lint.sh format             clang-format against .clang-format
#   lint.sh tidy BUILD_DIR     clang-tidy against .clang-tidy; BUILD_DIR has compile_commands.json
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

case "${1:-}" in
  format)
    find lib tools tests examples -name '*.h' -o -name '*.cc' | sort |
      xargs clang-format --dry-run -Werror ;;
  tidy)
    # The slow part is parsing headers once per file: one file per process.
    find lib/src tools examples -name '*.cc' | sort |
      xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p "$2" ;;
  *) echo "usage: lint.sh format | tidy BUILD_DIR" >&2; exit 2 ;;
esac
