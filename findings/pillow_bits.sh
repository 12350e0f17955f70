#!/usr/bin/env bash
# Pillow 13.0.0: `save(..., bits=8)` of a palette picture no longer keeps eight bits a pixel.
#
# Versions: pillow 12.3.0 and 13.0.0, Python 3.
# Guessed: a mask of mode P whose palette has 16 colors or fewer, and whose void label 255 has no color, is either refused or
#   kept whole when it is saved with `bits=8`, which used to ask for eight bits.
# Seen: 12.3.0 keeps 0, 12 and 255 with `bits=8`. 13.0.0 writes 4 bits a pixel whatever `bits` says, without a word, and
#   255 is read back as 15: in PASCAL VOC's masks the border becomes a person.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > write.py <<'PY'
import io, sys
from PIL import Image
mask = Image.new("P", (3, 1))
mask.putdata([0, 12, 255])
mask.putpalette([channel for color in range(16) for channel in (color, 0, 0)])
file = io.BytesIO()
mask.save(file, "PNG", bits=8)
data = file.getvalue()
print(f"{data[24]} bits:", *Image.open(io.BytesIO(data)).tobytes())
PY
for version in 12.3.0 13.0.0; do
    python3 -m venv "$version"
    "$version/bin/pip" --quiet install "pillow==$version"
    "$version/bin/python" write.py > "$version.txt"
    echo "pillow $version: $(cat "$version.txt")"
done
grep -qx "8 bits: 0 12 255" 12.3.0.txt
grep -qx "4 bits: 0 12 15" 13.0.0.txt
