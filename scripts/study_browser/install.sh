#!/usr/bin/env bash
# What session.mjs needs: Chromium (Debian's package, where apt-get may install it) and playwright-core, which brings no browser.
set -euo pipefail
cd "$(dirname "$0")"

chromium=${CHROMIUM:-/usr/bin/chromium}
if [[ ! -x $chromium ]]; then
  { apt-get update && apt-get install -y --no-install-recommends chromium; } > /dev/null || echo "$chromium is not installed" >&2
fi
if [[ ! -d node_modules/playwright-core ]]; then
  command -v npm > /dev/null || { echo "npm is not installed" >&2; exit 1; }
  PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-audit --no-fund
fi
[[ -x $chromium ]]
