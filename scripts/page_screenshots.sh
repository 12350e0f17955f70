#!/usr/bin/env bash
# Screenshots of a report page in headless Chromium at 1280 and 390 pixels, and what the browser says of it: the width of its
# content, its requests, and whether a table is sorted by a click. Usage: page_screenshots.sh report.html OUT
# Exit code 3 without Chromium (CHROMIUM names another), 1 if the page is wider than the window or requests anything.
set -euo pipefail
page=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")

chromium=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome; do
  [[ -n $chromium ]] || chromium=$(command -v "$name" || true)
done
[[ -n $chromium ]] || { echo "neither chromium nor google-chrome is installed; CHROMIUM names another" >&2; exit 3; }

profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
# Whatever it would load, it cannot reach.
browser() {
  "$chromium" --headless --no-sandbox --disable-gpu --hide-scrollbars --force-color-profile=srgb --no-first-run \
    --user-data-dir="$profile" --proxy-server=127.0.0.1:9 --virtual-time-budget=4000 "$@" 2>"$profile/log"
}

# The page in a frame of the width, since windows have a least one; in it a script that reports what it finds.
probe='<script>
  let blocked = 0;
  addEventListener("securitypolicyviolation", () => blocked++);
  addEventListener("load", () => {
    const head = document.querySelector("thead button")?.closest("th");
    head?.firstElementChild.click();
    const sorted = head?.getAttribute("aria-sort") === "ascending" ? "sortable" : "NOT SORTABLE";
    const root = document.documentElement, requests = performance.getEntriesByType("resource").length;
    parent.postMessage(`content ${root.scrollWidth}, requests ${requests}, blocked ${blocked}, ${sorted}|${root.scrollHeight}`, "*");
  });
</script>'
{ sed '/<head>/q' "$page" | sed 's/<head>.*//'; printf '<head>%s' "$probe"; sed '0,/<head>/s/.*<head>//;' "$page"; } > "$profile/probed.html"

wrong=0
for width in 1280 390; do
  cat > "$profile/frame.html" <<HTML
<!DOCTYPE html><style>body { margin: 0 } iframe { border: 0; width: ${width}px; height: 900px }</style>
<iframe src="probed.html"></iframe>
<script>addEventListener("message", (event) => { document.body.dataset.found = event.data; });</script>
HTML
  found=$(browser --window-size=1400,900 --dump-dom "file://$profile/frame.html" | grep -o 'data-found="[^"]*"' | cut -d'"' -f2)
  echo "$width pixels: ${found%|*}"
  [[ $found == "content $width, requests 0, blocked 0, sortable|"* ]] || wrong=1
  height=${found##*|}
  height=$((height < 16000 ? height : 16000))
  cat > "$profile/frame.html" <<HTML
<!DOCTYPE html><style>body { margin: 0 } iframe { border: 0; width: ${width}px; height: ${height}px }</style>
<iframe src="file://$page"></iframe>
HTML
  browser --window-size="$((width < 600 ? 600 : width)),$height" --screenshot="$out/wide.png" "file://$profile/frame.html"
  mv "$out/wide.png" "$out/$width.png"
done
exit $wrong
