// Streams of the stand-in. In the eager mode work runs when it is asked for. In the lazy mode it is
// kept until somebody waits, and then streams run in a fixed order of preference (the last created
// first, or the first created first), so that a missing event dependency gives wrong results.
#include "queue.h"

#include <cstdlib>
#include <set>

namespace stand_in {
namespace {
constexpr size_t LONGEST = 100000;
std::set<Stream*> streams;
unsigned created = 0;
bool draining = false;

Stream* default_stream() {
  static Stream* stream = stream_create(false);
  return stream;
}

bool runnable(const Stream* s) {
  if (s->items.empty()) return false;
  const Item& head = s->items.front();
  return !head.wait || head.wait->done >= head.ticket;
}

Stream* preferred() {
  Stream* best = nullptr;
  for (Stream* s : streams) {
    if (!runnable(s)) continue;
    const bool better = !best || (settings().lazy == 2 ? s->order < best->order : s->order > best->order);
    if (better) best = s;
  }
  return best;
}

void run(Item& item) {
  if (!item.work) return;
  running = item.name;
  item.work();
  running = nullptr;
}

template <class Finished>
void drain_until(Finished finished) {
  if (draining) return;  // a host function on a stream may not wait
  draining = true;
  while (!finished()) {
    Stream* s = preferred();
    if (!s) {
      stand_in_complain("streams wait for each other's events for ever");
      abort();
    }
    Item item = std::move(s->items.front());
    s->items.pop_front();
    run(item);
  }
  draining = false;
}
}  // namespace

Stream* stream_create(bool blocking) {
  auto* s = new Stream{++created, blocking, {}};
  streams.insert(s);
  return s;
}

Stream* stream_find(CUstream_st* handle) {
  const auto code = reinterpret_cast<uintptr_t>(handle);
  if (code <= 2) return default_stream();
  auto* s = reinterpret_cast<Stream*>(handle);
  if (!streams.count(s)) return nullptr;
  return s->blocking ? default_stream() : s;
}

bool stream_destroy(CUstream_st* handle) {
  auto* s = reinterpret_cast<Stream*>(handle);
  if (!streams.count(s)) return false;
  drain(s);
  streams.erase(s);
  delete s;
  return true;
}

void push(Stream* stream, Item item) {
  if (!settings().lazy) return run(item);
  stream->items.push_back(std::move(item));
  if (stream->items.size() > LONGEST) drain(stream);
}

void drain(Stream* stream) {
  drain_until([stream] {
    if (stream) return stream->items.empty();
    for (Stream* s : streams)
      if (!s->items.empty()) return false;
    return true;
  });
}

void drain_event(const std::shared_ptr<EventState>& event, uint64_t ticket) {
  drain_until([&] { return event->done >= ticket; });
}
}  // namespace stand_in
