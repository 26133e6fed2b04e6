#!/usr/bin/env bash
# Makes sure the browser tests find a Chromium: the machine's, else Debian's, else Playwright's own.
set -euo pipefail
cd "$(dirname "$0")/.."

find_chromium() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        # Ubuntu's package of that name is a stub that only prints an advice: ask for a version.
        if "$name" --version >/dev/null 2>&1; then
            return 0
        fi
    done
    return 1
}

find_chromium && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Debian's chromium"
    if apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium \
        && find_chromium; then
        exit 0
    fi
    echo "That gave no working chromium; trying Playwright's own"
fi
.venv/bin/python -m playwright install chromium || {
    printf '\nSet-up stopped: the browser tests need Chromium. Install the package "chromium" and try again.\n' >&2
    exit 1
}
