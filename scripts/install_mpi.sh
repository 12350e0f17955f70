#!/usr/bin/env bash
# What the feature `mpi` needs to be built and tried: Open MPI, and libclang for its bindings; Debian's packages, where apt-get may
# install them.
set -euo pipefail

has_all() {
  command -v mpicc > /dev/null && command -v mpirun > /dev/null && compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' > /dev/null
}
has_all || {
  apt-get update && apt-get install -y --no-install-recommends libopenmpi-dev openmpi-bin libclang-dev
} > /dev/null || echo "Open MPI and libclang are not installed" >&2
has_all
