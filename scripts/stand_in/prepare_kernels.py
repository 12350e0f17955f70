"""Make a CUDA source file ready for the host compiler.

    prepare_kernels.py SOURCE OUT CXX [FLAGS...]
    prepare_kernels.py --header SOURCE OUT

Writes OUT: the source with its __shared__ declarations rewritten, and a table that gives each
`extern "C" __global__` function to the driver library by name. The names come from the
preprocessed text, so kernels that a macro defines are found too. A header is only rewritten.
"""
import re
import subprocess
import sys

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
STATIC = re.compile(r"(?<!extern )\b__shared__\s+([^;{}()=]*(?:\([^;()]*\)[^;{}()=]*)*);")
DYNAMIC = re.compile(r"\bextern\s+__shared__\s+([^;\[\]]*?)(\w+)\s*\[\s*\]\s*;")
KERNEL = re.compile(r'extern\s*"C"\s*STAND_IN_GLOBAL\s+void\s+(\w+)\s*\(')


def names(declarators):
    """The declared names: the last word before a bracket or the end, for each comma at depth 0."""
    parts = re.split(r",(?![^<(\[]*[>)\]])", declarators)
    return [re.search(r"(\w+)\s*(\[.*)?$", part.strip(), re.S).group(1) for part in parts]


def enter(match):
    """A __shared__ variable is static, and is filled with 0xFF once for each block."""
    text = match.group(1)
    calls = "".join(
        f" {{ static unsigned long long epoch = 0; stand_in::shared_enter((void*)&{n}, sizeof {n}, epoch); }}"
        for n in names(text))
    return f"static {text};{calls}"


def prepare(text):
    text = COMMENT.sub(lambda m: "\n" * m[0].count("\n"), text)
    text = DYNAMIC.sub(lambda m: f"{m[1].strip()}* {m[2]} = ({m[1].strip()}*)stand_in::dynamic_shared();",
                       text)
    return STATIC.sub(enter, text)


def kernels(source, compiler):
    flat = subprocess.run(compiler + ["-E", "-P", "-D__global__=STAND_IN_GLOBAL", source],
                          check=True, capture_output=True, text=True).stdout
    return KERNEL.findall(flat)


def main():
    if sys.argv[1] == "--header":
        with open(sys.argv[2]) as file, open(sys.argv[3], "w") as out:
            out.write(prepare(file.read()))
        return
    source, out, compiler = sys.argv[1], sys.argv[2], sys.argv[3:]
    with open(source) as file:
        text = prepare(file.read())
    with open(out, "w") as file:
        file.write(f'#include "emulator.h"\n#line 1 "{source}"\n{text}\n')
    found = kernels(out, compiler)
    if len(set(found)) != len(found):
        sys.exit(f"{source}: a kernel's name stands twice")
    if not found:
        sys.exit(f'{source}: holds no extern "C" __global__ function')
    with open(out, "a") as file:
        file.write('#line 1 "kernel table"\nnamespace {\nstruct Table {\n  Table() {\n')
        for name in found:
            file.write(f'    stand_in_register("{name}", stand_in::Kernel<&::{name}>::bind);\n')
        file.write("  }\n} table;\n}\n")


main()
