#!/usr/bin/env bash
# glibc 2.36 (static, libc6-dev) with GCC 12 and binutils 2.40 on Debian 12; Python 3 (standard library); unshare of util-linux 2.38.
#
# Guessed: a static program cannot look names up where glibc's shared libraries are not, since `getaddrinfo` loads its name
# services (libnss_files, libnss_dns) while it runs. The linker says so of every such program: "Using 'getaddrinfo' in statically
# linked applications requires at runtime the shared libraries from the glibc version used for linking".
# Seen: in a root that holds the program, /etc/hosts and /etc/resolv.conf alone, names of the file and of a name server are both
# found. Both services are part of libc.a. An nsswitch.conf decides as usual, and one that names a service without a library
# (myhostname) does no harm. So the linker's warning is no reason against a static build that only asks for files and dns:
#   byfile -> 127.0.0.9          bydns.example -> 127.0.0.42     (without nsswitch.conf)
#   bydns.example -> 127.0.0.42                                  (hosts: myhostname dns)
#   byfile -> 127.0.0.42                                         (hosts: dns)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > lookup.c <<'C'
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
int main(int count, char **names) {
  for (int i = 1; i < count; i++) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(names[i], "80", &hints, &found);
    if (error) printf("%s: %s\n", names[i], gai_strerror(error));
    else printf("%s -> %s\n", names[i], inet_ntoa(((struct sockaddr_in *)found->ai_addr)->sin_addr));
  }
}
C
mkdir -p root/etc
gcc -static -o root/lookup lookup.c 2> warnings
grep -q "requires at runtime the shared libraries" warnings
echo "127.0.0.9 byfile" > root/etc/hosts
echo "nameserver 127.0.0.1" > root/etc/resolv.conf

# A name server that answers every question for an IPv4 address with 127.0.0.42.
cat > server.py <<'PYTHON'
import fcntl, socket, struct
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(link, 0x8914, struct.pack("16sH14x", b"lo", 1 | 64))  # SIOCSIFFLAGS: up
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
open("ready", "w").close()
while True:
    question, asker = server.recvfrom(512)
    end = question.index(b"\0", 12) + 5
    kind = struct.unpack(">H", question[end - 4 : end - 2])[0]
    answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([127, 0, 0, 42]) if kind == 1 else b""
    counts = struct.pack(">HHHH", 1, 1 if answer else 0, 0, 0)
    server.sendto(question[:2] + b"\x81\x80" + counts + question[12:end] + answer, asker)
PYTHON

cat > inside.sh <<'SH'
set -euo pipefail
python3 server.py &
server=$!
trap 'kill $server' EXIT
for _ in $(seq 100); do [[ -e ready ]] && break; sleep 0.05; done
chroot root /lookup byfile bydns.example
echo "hosts: myhostname dns" > root/etc/nsswitch.conf
chroot root /lookup bydns.example
echo "hosts: dns" > root/etc/nsswitch.conf
chroot root /lookup byfile
SH
# A network and a root of its own.
unshare --user --map-root-user --net bash inside.sh | tee seen

diff - seen <<'EXPECTED'
byfile -> 127.0.0.9
bydns.example -> 127.0.0.42
bydns.example -> 127.0.0.42
byfile -> 127.0.0.42
EXPECTED
