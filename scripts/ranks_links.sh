#!/usr/bin/env bash
# ranks_links.sh BENCH RATE...: the sum of gradients between two hosts whose link carries RATE (tc's notation, as 1gbit), measured.
# BENCH is benches/ranks.rs, built. The hosts are network namespaces of this machine, the link a pair of virtual cards whose rate a
# token bucket limits; root is needed, and iproute2. Prints the lines of the benchmark below a heading a rate.
set -euo pipefail
bench=$(realpath "${1:?which benchmark?}")
shift
here=$$
a=ranks-a-$here b=ranks-b-$here
scratch=$(mktemp -d)
trap 'ip netns del "$a" 2> /dev/null; ip netns del "$b" 2> /dev/null; rm -rf "$scratch"' EXIT

ip netns add "$a"
ip netns add "$b"
ip link add link-a netns "$a" type veth peer name link-b netns "$b"
ip -n "$a" addr add 10.77.0.1/24 dev link-a
ip -n "$b" addr add 10.77.0.2/24 dev link-b
for side in a b; do
  ip -n "${!side}" link set lo up
  ip -n "${!side}" link set "link-$side" up
done

# What mpirun takes for ssh: it runs the command in the namespace of the host.
cat > "$scratch/agent" <<AGENT
#!/usr/bin/env bash
shift
exec ip netns exec $b bash -c "\$*"
AGENT
chmod +x "$scratch/agent"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
for rate in "$@"; do
  for side in a b; do
    tc -n "${!side}" qdisc replace dev "link-$side" root tbf rate "$rate" burst 64kb latency 100ms
  done
  echo "# $rate"
  ip netns exec "$a" mpirun -n 2 --host 10.77.0.1,10.77.0.2 --oversubscribe --bind-to none \
    --mca plm_rsh_agent "$scratch/agent" --mca plm_rsh_no_tree_spawn 1 --mca btl tcp,self \
    --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 "$bench" --rounds 10 --most 4194304
done
