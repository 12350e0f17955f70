// Device memory of the stand-in: every allocation ends at an inaccessible page, holds NaN (0xFF
// bytes) at first, and becomes inaccessible when it is freed. Addresses are never used twice.
#include <sys/mman.h>
#include <signal.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "stand_in.h"

namespace stand_in {
namespace {
constexpr size_t PAGE_MIN = 4096;
struct Block {
  size_t bytes;
  int device;
  bool freeing;
};
struct Use {
  size_t now = 0, peak = 0;
};
std::map<uintptr_t, Block> blocks;
std::recursive_mutex lock;
uintptr_t arena = 0, arena_end = 0, arena_next = 0;
std::map<int, Use> uses;  // by device
unsigned long long count = 0;
struct sigaction former;

size_t page() {
  static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size < PAGE_MIN ? PAGE_MIN : size;
}

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// A large inaccessible range of addresses; allocations open pages of it one after another.
bool reserve_arena() {
  for (size_t bytes = size_t(16) << 40; bytes >= size_t(64) << 30; bytes >>= 2) {
    void* p = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) continue;
    arena = reinterpret_cast<uintptr_t>(p);
    arena_end = arena + bytes;
    arena_next = arena + page();
    return true;
  }
  stand_in_complain("cannot reserve addresses for the device memory; try STAND_IN_FAST=1");
  return false;
}

uintptr_t open_pages(size_t bytes) {
  if (!arena && !reserve_arena()) return 0;
  const size_t body = round_up(bytes, page());
  if (arena_next + body + page() > arena_end) return 0;
  const uintptr_t start = arena_next;
  if (mprotect(reinterpret_cast<void*>(start), body, PROT_READ | PROT_WRITE)) return 0;
  arena_next = start + body + page();
  return start + body - round_up(bytes, 16);
}

void close_pages(uintptr_t at, size_t bytes) {
  const uintptr_t start = at / page() * page();
  const size_t body = round_up(bytes, 16) + (at - start);
  mmap(reinterpret_cast<void*>(start), body, PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

std::map<uintptr_t, Block>::iterator around(uintptr_t at) {
  auto it = blocks.upper_bound(at);
  if (it == blocks.begin()) return blocks.end();
  --it;
  return at <= it->first + it->second.bytes ? it : blocks.end();
}

const char* describe(uintptr_t at) {
  if (at < arena || at >= arena_end) return "no device memory";
  auto it = blocks.upper_bound(at);
  if (it != blocks.begin()) {
    --it;
    const size_t past = at - it->first;
    if (past < it->second.bytes) return "device memory";
    if (past < it->second.bytes + 2 * page()) return "past the end of an allocation, or freed";
  }
  return "device memory that is freed, or before an allocation";
}

// Says what ran and where, then lets the former handler (or the default) end the process.
void on_fault(int number, siginfo_t* info, void* context) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(info->si_addr);
  const bool ours = running || (at >= arena && at < arena_end && arena);
  if (ours) {
    char line[512];
    const Dim b = stand_in_block, t = stand_in_thread;
    const int n = snprintf(line, sizeof line,
        "stand-in: fault at address 0x%zx (%s) in %s, block (%u, %u, %u), thread (%u, %u, %u)\n",
        static_cast<size_t>(at), info->si_code == SI_KERNEL ? "none: a vector access is not aligned" : describe(at), running ? running : "the host program",
        b.x, b.y, b.z, t.x, t.y, t.z);
    if (write(2, line, static_cast<size_t>(n)) < 0) {}
    signal(SIGABRT, SIG_DFL);
    abort();
  }
  if (former.sa_flags & SA_SIGINFO) return former.sa_sigaction(number, info, context);
  sigaction(number, &former, nullptr);
}
}  // namespace

const char* running = nullptr;

void install_fault_report() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &former);
  struct sigaction bus = action;
  sigaction(SIGBUS, &bus, nullptr);
}

void* device_allocate(size_t bytes, int device) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  Use& use = uses[device];
  if (use.now + bytes > settings().bytes) return nullptr;
  const uintptr_t at = settings().fast ? reinterpret_cast<uintptr_t>(aligned_alloc(256, round_up(bytes, 256)))
                                       : open_pages(bytes);
  if (!at) return nullptr;
  blocks[at] = {bytes, device, false};
  use.now += bytes;
  use.peak = use.now > use.peak ? use.now : use.peak;
  ++count;
  return reinterpret_cast<void*>(at);
}

void device_poison(void* p, size_t bytes) { memset(p, 0xFF, round_up(bytes, 16)); }

bool device_mark_freeing(void* p) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  auto it = blocks.find(reinterpret_cast<uintptr_t>(p));
  if (it == blocks.end() || it->second.freeing) return false;
  return it->second.freeing = true;
}

void device_release(void* p) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  auto it = blocks.find(reinterpret_cast<uintptr_t>(p));
  if (it == blocks.end()) return;
  uses[it->second.device].now -= it->second.bytes;
  if (settings().fast) free(p);
  else close_pages(it->first, it->second.bytes);
  blocks.erase(it);
}

bool device_find(const void* p, void** base, size_t* bytes, int* device) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  auto it = around(reinterpret_cast<uintptr_t>(p));
  if (it == blocks.end() || it->second.freeing) return false;
  *base = reinterpret_cast<void*>(it->first);
  *bytes = it->second.bytes;
  *device = it->second.device;
  return true;
}

bool device_touches(const void* p, size_t bytes) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  const uintptr_t at = reinterpret_cast<uintptr_t>(p);
  if (arena && at < arena_end && at + bytes > arena) return true;
  auto it = blocks.upper_bound(at + bytes - 1);
  return it != blocks.begin() && (--it)->first + it->second.bytes > at;
}

size_t device_used(int device) { return uses[device].now; }
size_t device_peak(int device) { return uses[device].peak; }
void device_restart_peak(int device) { uses[device].peak = uses[device].now; }
unsigned long long device_allocations() { return count; }
}  // namespace stand_in

void stand_in_complain(const char* format, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  fprintf(stderr, "stand-in: %s\n", line);
}

bool stand_in_on_device(const void* p, size_t bytes, const char* who) {
  void* base;
  size_t size;
  int device;
  if (!stand_in::device_find(p, &base, &size, &device)) {
    stand_in_complain("%s: %p is no live device memory (a host address, or freed)", who, p);
    return false;
  }
  if (device != stand_in_current_device()) {
    stand_in_complain("%s: %p is memory of device %d, and the current one is %d", who, p, device, stand_in_current_device());
    return false;
  }
  const size_t at = static_cast<size_t>(static_cast<const char*>(p) - static_cast<char*>(base));
  if (at + bytes <= size) return true;
  stand_in_complain("%s: %zu bytes from %p reach %zu bytes past the end of an allocation of %zu bytes",
                    who, bytes, p, at + bytes - size, size);
  return false;
}
