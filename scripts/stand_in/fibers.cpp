// The kernel runner of the stand-in: the threads of a block are fibers on one host thread. A fiber
// runs until it reaches a barrier or a warp operation; a kernel with none runs straight through.
#include "fibers.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace stand_in {
extern "C" {
Dim stand_in_thread, stand_in_block, stand_in_block_dim, stand_in_grid_dim;
}
unsigned long long block_epoch = 0;

namespace {
constexpr size_t STACK = 256 * 1024;
constexpr size_t SHARED_MOST = 232448;  // bytes of dynamic shared memory, as on a 9.0 device
enum State : unsigned char { UNBORN, READY, RUNNING, AT_BARRIER, AT_WARP, DONE };

#if defined(__x86_64__)
extern "C" void stand_in_switch(void** save, void* load);
asm(R"(
.text
.globl stand_in_switch
.hidden stand_in_switch
.type stand_in_switch,@function
stand_in_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.size stand_in_switch,.-stand_in_switch
)");
using Context = void*;
void change(Context& from, Context& to) { stand_in_switch(&from, to); }
void prepare(Context& c, char* stack, void (*entry)()) {
  void** top = reinterpret_cast<void**>(stack + STACK) - 1;  // the entry sees rsp = 8 mod 16
  *top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  c = top - 6;
}
#else
using Context = ucontext_t;
void change(Context& from, Context& to) { swapcontext(&from, &to); }
void prepare(Context& c, char* stack, void (*entry)()) {
  getcontext(&c);
  c.uc_stack.ss_sp = stack;
  c.uc_stack.ss_size = STACK;
  c.uc_link = nullptr;
  makecontext(&c, entry, 0);
}
#endif

struct Fiber {
  Context context;
};
struct Lane {
  State state;
  WarpKind kind;
  int line, source;
  unsigned mask;
  uint64_t value, result;
  Fiber* fiber;
};

Context scheduler;
std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Fiber*> idle;
std::vector<Lane> lanes;
size_t total = 0, born = 0, live = 0, arrived = 0, current = 0;
const Work* body = nullptr;
char* shared_end = nullptr;
size_t shared_size = 0;

size_t number(size_t i, size_t n) { return settings().reverse ? n - 1 - i : i; }

Dim place(size_t i, Dim of) {
  return {static_cast<unsigned>(i % of.x), static_cast<unsigned>(i / of.x % of.y),
          static_cast<unsigned>(i / of.x / of.y)};
}

void enter(size_t lane) {
  current = lane;
  stand_in_thread = place(lane, stand_in_block_dim);
  lanes[lane].state = RUNNING;
}

void give_up(const char* why) {
  size_t barrier = 0, warp = 0;
  for (const Lane& l : lanes) barrier += l.state == AT_BARRIER, warp += l.state == AT_WARP;
  const Dim b = stand_in_block;
  stand_in_complain("%s in kernel %s, block (%u, %u, %u): %zu threads wait at a block barrier, "
                    "%zu at a warp operation, %zu have ended", why, running, b.x, b.y, b.z,
                    barrier, warp, total - live);
  abort();
}

void release_barrier() {
  if (arrived == 0 || arrived != live) return;
  int line = 0;
  for (Lane& l : lanes) {
    if (l.state != AT_BARRIER) continue;
    if (line && l.line != line) give_up("threads of a block meet at different barriers");
    line = l.line;
    l.state = READY;
  }
  arrived = 0;
}

// The answer of a warp operation for one lane, when all lanes of `need` have arrived.
uint64_t answer(size_t first, const Lane& lane, unsigned need) {
  if (lane.kind == WarpKind::Shuffle) {
    if (need >> lane.source & 1) return lanes[first + lane.source].value;
    static bool said = false;
    if (!said) stand_in_complain("kernel %s shuffles from lane %d, which takes no part", running, lane.source);
    said = true;
    return ~uint64_t(0);
  }
  uint64_t bits = 0;
  for (unsigned i = 0; i < 32; ++i)
    if (need >> i & 1 && lanes[first + i].value) bits |= uint64_t(1) << i;
  return bits;
}

void release_warp(size_t warp) {
  const size_t first = warp * 32, end = first + 32 < total ? first + 32 : total;
  unsigned alive = 0, waiting = 0;
  for (size_t i = first; i < end; ++i) {
    if (lanes[i].state != DONE) alive |= 1u << (i - first);
    if (lanes[i].state == AT_WARP) waiting |= 1u << (i - first);
  }
  for (size_t i = first; i < end; ++i) {
    const unsigned need = lanes[i].mask & alive;
    if (lanes[i].state != AT_WARP || (need & ~waiting)) continue;
    for (size_t j = first; j < end; ++j)
      if (need >> (j - first) & 1) lanes[j].result = answer(first, lanes[j], need);
    for (size_t j = first; j < end; ++j)
      if (need >> (j - first) & 1) lanes[j].state = READY;
    waiting &= ~need;
  }
}

void yield() {
  Lane& lane = lanes[current];
  if (lane.state == READY) {  // the last to arrive goes on at once
    lane.state = RUNNING;
    return;
  }
  change(lane.fiber->context, scheduler);
}

// A fiber takes one new thread after another until one of them has to wait.
void fiber_main() {
  Fiber* self = idle.back();
  idle.pop_back();
  for (;;) {
    while (born < total) {
      const size_t lane = number(born++, total);
      lanes[lane].fiber = self;
      enter(lane);
      (*body)();
      const size_t ended = current;
      lanes[ended].state = DONE;
      --live;
      release_barrier();
      release_warp(ended / 32);
    }
    idle.push_back(self);
    change(self->context, scheduler);
    for (size_t i = idle.size(); i-- > 0;)
      if (idle[i] == self) idle.erase(idle.begin() + static_cast<long>(i));
  }
}

void add_fiber() {
  char* stack = static_cast<char*>(mmap(nullptr, STACK + 4096, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (stack == MAP_FAILED) give_up("no memory for a fiber's stack");
  mprotect(stack, 4096, PROT_NONE);
  fibers.emplace_back(new Fiber);
  prepare(fibers.back()->context, stack + 4096, fiber_main);
  idle.push_back(fibers.back().get());
}

void run_block() {
  born = arrived = 0;
  live = total;
  for (Lane& l : lanes) l.state = UNBORN;
  ++block_epoch;
  if (shared_size) memset(shared_end - shared_size, 0xFF, shared_size);
  while (live) {
    while (born < total) {
      if (idle.empty()) add_fiber();
      change(scheduler, idle.back()->context);
    }
    bool ran = false;
    for (size_t i = 0; i < total; ++i) {
      const size_t lane = number(i, total);
      if (lanes[lane].state != READY) continue;
      ran = true;
      enter(lane);
      change(scheduler, lanes[lane].fiber->context);
    }
    if (!ran && live) give_up("deadlock");
  }
}

// Dynamic shared memory ends at an inaccessible page.
void size_shared(unsigned bytes) {
  if (!shared_end) {
    const size_t room = (SHARED_MOST + 4095) / 4096 * 4096;
    char* p = static_cast<char*>(mmap(nullptr, room + 4096, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    shared_end = p + room;
    mprotect(shared_end, 4096, PROT_NONE);
  }
  shared_size = (bytes + 15u) / 16 * 16;
}

void give_signal_stack() {
  static thread_local bool done = false;
  if (done) return;
  done = true;
  stack_t now = {};
  sigaltstack(nullptr, &now);
  if (!(now.ss_flags & SS_DISABLE)) return;
  stack_t ours = {};
  ours.ss_size = 64 * 1024;
  ours.ss_sp = malloc(ours.ss_size);
  sigaltstack(&ours, nullptr);
}
}  // namespace

void run_grid(const char* name, Dim grid, Dim block, unsigned shared_bytes, const Work& thread) {
  give_signal_stack();
  running = name;
  body = &thread;
  total = size_t(block.x) * block.y * block.z;
  lanes.resize(total);
  size_shared(shared_bytes);
  stand_in_block_dim = block;
  stand_in_grid_dim = grid;
  const size_t count = size_t(grid.x) * grid.y * grid.z;
  for (size_t i = 0; i < count; ++i) {
    stand_in_block = place(number(i, count), grid);
    run_block();
  }
  running = nullptr;
}

void barrier(int line) {
  lanes[current].state = AT_BARRIER;
  lanes[current].line = line;
  ++arrived;
  release_barrier();
  yield();
}

uint64_t warp_operation(WarpKind kind, unsigned mask, uint64_t value, int source) {
  Lane& lane = lanes[current];
  const unsigned here = static_cast<unsigned>(current % 32);
  if (!(mask >> here & 1)) give_up("a thread is not in its own warp mask");
  lane.kind = kind;
  lane.mask = mask;
  lane.value = value;
  lane.source = source;
  lane.state = AT_WARP;
  release_warp(current / 32);
  yield();
  return lane.result;
}

unsigned lane_number() { return static_cast<unsigned>(current % 32); }

unsigned active_lanes() {
  const size_t first = current / 32 * 32;
  unsigned alive = 0;
  for (size_t i = first; i < total && i < first + 32; ++i)
    if (lanes[i].state != DONE) alive |= 1u << (i - first);
  return alive;
}

void* dynamic_shared() { return shared_end - shared_size; }

void shared_enter(void* variable, size_t bytes, unsigned long long& epoch) {
  if (epoch == block_epoch) return;
  epoch = block_epoch;
  memset(variable, 0xFF, bytes);
}
}  // namespace stand_in
