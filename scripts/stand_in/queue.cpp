// Streams of the stand-in. In the eager mode work runs when it is asked for, or when what it waits for has come. In the lazy mode
// it is kept until somebody waits, and then streams run in a fixed order of preference (the last created first, or the first
// created first), so that a missing event dependency gives wrong results.
#include "queue.h"

#include <cstdlib>
#include <map>
#include <set>
#include <thread>

namespace stand_in {
namespace {
using Clock = std::chrono::steady_clock;
constexpr size_t LONGEST = 100000;
constexpr auto NAP = std::chrono::microseconds(200);
std::set<Stream*>& streams = *new std::set<Stream*>;  // never destroyed: the helper runs until the process ends
unsigned created = 0;
unsigned outside = 0;  // queued items that wait for another thread or process
bool inside = false;   // an item runs: it may not wait

Stream* default_stream(int device) {
  static std::map<int, Stream*> all;
  Stream*& stream = all[device];
  if (!stream) stream = stream_create(false, device);
  return stream;
}

bool has_ended(const Item& item) { return !item.wait || item.wait->done >= item.ticket; }
bool runnable(const Stream* s) {
  if (s->items.empty() || !has_ended(s->items.front())) return false;
  const Item& head = s->items.front();
  return !head.ready || head.ready();
}

Stream* preferred() {
  Stream* best = nullptr;
  for (Stream* s : streams) {
    const bool better = !best || (settings().lazy == 2 ? s->order < best->order : s->order > best->order);
    if (better && runnable(s)) best = s;
  }
  return best;
}

bool waits_for_others() {
  for (const Stream* s : streams)
    if (!s->items.empty() && has_ended(s->items.front()) && s->items.front().ready) return true;
  return false;
}

void step(Stream* s) {
  Item item = std::move(s->items.front());
  s->items.pop_front();
  if (item.ready) --outside;
  if (item.work) {
    inside = true;
    running = item.name;
    item.work();
    running = nullptr;
    inside = false;
  }
  if (s->destroyed && s->items.empty()) {
    streams.erase(s);
    delete s;
  }
}

// A device goes on while its process waits elsewhere, for a message of another rank. While an item waits for others, this thread
// runs what can run.
void help() {
  for (;;) {
    std::this_thread::sleep_for(settings().lazy ? 10 * NAP : NAP);
    std::lock_guard<std::recursive_mutex> hold(driver_lock());
    while (outside) {
      Stream* s = preferred();
      if (!s) break;
      step(s);
    }
  }
}

template <class Finished>
void drain_until(Finished finished) {
  if (inside) return;  // a host function on a stream may not wait
  auto since = Clock::now();
  while (!finished()) {
    if (Stream* s = preferred()) {
      step(s);
      since = Clock::now();
      continue;
    }
    const bool alone = !waits_for_others();
    if (alone || Clock::now() - since > std::chrono::seconds(2 * settings().patience)) {
      stand_in_complain(alone ? "streams wait for each other's events for ever" : "another process or thread never comes");
      abort();
    }
    driver_lock().unlock();
    std::this_thread::sleep_for(NAP);
    driver_lock().lock();
  }
}
}  // namespace

std::recursive_mutex& driver_lock() {
  static auto* lock = new std::recursive_mutex;
  return *lock;
}

Stream* stream_create(bool blocking, int device) {
  auto* s = new Stream{++created, blocking, device, false, {}};
  streams.insert(s);
  return s;
}

Stream* stream_find(CUstream_st* handle) {
  const auto code = reinterpret_cast<uintptr_t>(handle);
  if (code <= 2) return default_stream(stand_in_current_device());
  auto* s = reinterpret_cast<Stream*>(handle);
  if (!streams.count(s) || s->destroyed) return nullptr;
  return s->blocking ? default_stream(s->device) : s;
}

bool stream_destroy(CUstream_st* handle) {
  auto* s = reinterpret_cast<Stream*>(handle);
  if (!streams.count(s) || s->destroyed) return false;
  s->destroyed = true;
  if (!s->items.empty()) return true;
  streams.erase(s);
  delete s;
  return true;
}

void push(Stream* stream, Item item) {
  if (item.ready) {
    static const bool helped = (std::thread(help).detach(), true);
    outside += helped;
  }
  stream->items.push_back(std::move(item));
  if (settings().lazy) {
    if (stream->items.size() > LONGEST) drain(stream);
  } else if (!inside) {
    while (Stream* s = preferred()) step(s);
  }
}

void drain(Stream* stream) {
  drain_until([stream] { return stream->items.empty(); });
}

void drain_device(int device) {
  drain_until([device] {
    for (Stream* s : streams)
      if (s->device == device && !s->items.empty()) return false;
    return true;
  });
}

void drain_event(const std::shared_ptr<EventState>& event, uint64_t ticket) {
  drain_until([&] { return event->done >= ticket; });
}
}  // namespace stand_in
