"""What Python's YAML readers make of scalars that stand without quotes.

    pip install pyyaml==6.0.4 ruamel.yaml==0.19.1
    python yaml_text.py > yaml_text.json             the fixture: [text, PyYAML's type (YAML 1.1), ruamel's type (YAML 1.2)]
    hueristic show SPEC | python yaml_text.py - both must read the same values; prints how many
"""

import json
import sys

import yaml
from ruamel.yaml import YAML

TEXTS = """
y Y n N yes Yes YES no No NO on On ON oN off Off OFF true True TRUE tRue false False FALSE null Null NULL nULL ~ = <<
0 00 007 0o7 0O7 0b1 0b102 0x1f 0X1F 0xg 1_000 _1 1__0 +1 -1 +-1 1e6 1E6 1e-6 1e+6 1.0e-6 1.e6 .5 -.5 +.5 5. 0.5e 1.2.3 .5e3
.inf .Inf .INF -.inf +.inf .nan .NaN .NAN nan inf NaN Infinity e5 1e 12e03 123456789012345678901234567890 0.0 -0 0777 08 0o8
1:30 1:30:00 01:30 190:20:30 1:60 1:30.5 -1:30 :30 1: a:b a: a:b:c 12:30:45.5
2026-01-01 2026-1-1 2026-01-01T10:00:00 2026-01-01t10:00:00Z 2026-01-01T10:00:00.5+01:00 2026-13-45 20260101 2026-01
- -- --- -a -1a ? ?a : :a , ,a [ [a] ] { {a} } # #a a#b & &a * *a ! !a !!str | > ' " '' % %a @ @a ` `a . .. ... ./a ../a /a ~/a
a b.c a-b a_b a/b a\\b hf://a/b/c@d C:\\a 227x227 3d conv1_1 2007/JPEGImages 2007_train é 日本 ☃ _a a, a[0] a{b} a'b a"b a%b a|b a>b
tiny colorization alexnet small zhang Truely none None NONE nil undefined yesterday nope onward offset n/a y/n
""".split() + ["a b", "a # b", "a #b", "a: b", "a :b", " a", "a ", "", "2026-01-01 10:00:00", "1 000", "on off", "- a", "? a"]


def kind(load, text):
    try:
        value = load(f"a: {text}\n")
        value = value["a"] if isinstance(value, dict) and set(value) == {"a"} else type("other", (), {})()
    except Exception:
        return "refused"
    return "str" if isinstance(value, str) and value == text else f"not it: {type(value).__name__}"


def ruamel(text):
    return YAML(typ="safe", pure=True).load(text)


def main():
    if sys.argv[1:] == ["-"]:
        text = sys.stdin.read()
        one, two = yaml.safe_load(text), ruamel(text)
        assert json.dumps(one, default=repr) == json.dumps(two, default=repr), (one, two)
        walk(one)
        print(f"{len(text)} bytes: the same to both")
        return
    rows = [[text, kind(yaml.safe_load, text), kind(ruamel, text)] for text in TEXTS]
    print("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]")


def walk(value):
    """No dates, and no text that is a number."""
    if isinstance(value, dict):
        for key, inner in value.items():
            assert isinstance(key, str), key
            walk(inner)
    elif isinstance(value, list):
        for inner in value:
            walk(inner)
    else:
        assert value is None or isinstance(value, (bool, int, float, str)), value


if __name__ == "__main__":
    main()
