"""What a reader of YAML 1.1 (PyYAML) makes of every YAML file below a folder, as JSON by path.

Run by tests/surface/schema.rs: python3 scripts/oracles/yaml_1_1.py experiments
"""

import json
import sys
from pathlib import Path

try:
    import yaml
except ImportError:
    sys.exit(3)

files = sorted(Path(sys.argv[1]).rglob("*.yaml"))
json.dump({str(path): yaml.safe_load(path.read_text()) for path in files}, sys.stdout)
