#!/usr/bin/env bash
# PyYAML 6.0.4 and numbers that begin with a point.
#
# Guessed: YAML 1.1 lets a fraction begin with its point, and a sign stand before any number, so `.5`, `-.5` and `+.5` are read
# alike, as numbers, as ruamel.yaml 0.19.1 reads them.
# Seen: PyYAML reads `.5` as the number 0.5, but `-.5` and `+.5` as text, without a word; `-0.5` is a number again. A learning
# rate or an offset written so in a configuration turns into a string by its sign alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyyaml==6.0.4 ruamel.yaml==0.19.1
"$folder/venv/bin/python" - <<'PYTHON'
import yaml
from ruamel.yaml import YAML

texts = [".5", "-.5", "+.5", "-0.5"]
seen = [yaml.safe_load(text) for text in texts]
other = [YAML(typ="safe", pure=True).load(text) for text in texts]
print("PyYAML:", dict(zip(texts, seen)))
print("ruamel:", dict(zip(texts, other)))
assert seen == [0.5, "-.5", "+.5", -0.5], seen
assert other == [0.5, -0.5, 0.5, -0.5], other
PYTHON
