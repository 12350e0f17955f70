// Streams and events of the stand-in.
#pragma once
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>

#include "stand_in.h"

namespace stand_in {
struct EventState {
  uint64_t issued = 0, done = 0;  // how many records were asked for, and executed
  bool timing = true;
  std::chrono::steady_clock::time_point when;
};
struct Event {
  int device;
  std::shared_ptr<EventState> state = std::make_shared<EventState>();
};
struct Item {
  const char* name;
  Work work;
  std::shared_ptr<EventState> wait;  // runs only when `wait` has executed `ticket` records
  uint64_t ticket = 0;
  std::function<bool()> ready;  // runs only when this answers true
};
struct Stream {
  unsigned order;
  bool blocking;
  int device;
  bool destroyed;  // to be deleted when it is empty
  std::deque<Item> items;
};

// One lock for the whole driver. Whoever waits for another thread or process lets go of it meanwhile.
std::recursive_mutex& driver_lock();
Stream* stream_create(bool blocking, int device);
// The stream behind a handle; all blocking streams of a device share one queue with its default stream.
// nullptr: no such stream.
Stream* stream_find(CUstream_st* handle);
bool stream_destroy(CUstream_st* handle);
void push(Stream* stream, Item item);
// Runs queued work, the least welcome first, until the stream is empty, or all streams of a device.
void drain(Stream* stream);
void drain_device(int device);
void drain_event(const std::shared_ptr<EventState>& event, uint64_t ticket);
}  // namespace stand_in
