// Streams and events of the stand-in.
#pragma once
#include <chrono>
#include <deque>
#include <memory>

#include "stand_in.h"

namespace stand_in {
struct EventState {
  uint64_t issued = 0, done = 0;  // how many records were asked for, and executed
  bool timing = true;
  std::chrono::steady_clock::time_point when;
};
struct Event {
  std::shared_ptr<EventState> state = std::make_shared<EventState>();
};
struct Item {
  const char* name;
  Work work;
  std::shared_ptr<EventState> wait;  // runs only when `wait` has executed `ticket` records
  uint64_t ticket = 0;
};
struct Stream {
  unsigned order;
  bool blocking;
  std::deque<Item> items;
};

Stream* stream_create(bool blocking);
// The stream behind a handle; all blocking streams share one queue with the default stream.
// nullptr: no such stream.
Stream* stream_find(CUstream_st* handle);
bool stream_destroy(CUstream_st* handle);
void push(Stream* stream, Item item);
// Runs queued work, the least welcome first, until the stream is empty (nullptr: all streams).
void drain(Stream* stream);
void drain_event(const std::shared_ptr<EventState>& event, uint64_t ticket);
}  // namespace stand_in
