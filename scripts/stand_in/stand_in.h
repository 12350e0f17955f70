// What the stand-in libraries share: the driver library (libcuda.so.1) owns memory, streams and the
// kernel runner; cuBLAS, cuDNN and the compiled kernels call it through these functions.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>

struct CUstream_st;

namespace stand_in {
using Work = std::function<void()>;
struct Dim {
  unsigned x, y, z;
};
// Copies a kernel's arguments out of `params`; the result runs one device thread.
// It answers an empty function where a pointer argument is no live device memory.
using Binder = Work (*)(const char* name, void** params);
}  // namespace stand_in

#define STAND_IN_API __attribute__((visibility("default")))

// Puts work at the end of a stream; in the eager mode it runs at once. `name` must live for ever.
STAND_IN_API void stand_in_enqueue(CUstream_st* stream, const char* name, stand_in::Work work);
// As above, for work that waits for another process or thread: it runs only when `ready` answers true.
STAND_IN_API void stand_in_enqueue_when(CUstream_st* stream, const char* name, std::function<bool()> ready, stand_in::Work work);
// The device whose context is current on this thread; 0 where none is.
STAND_IN_API int stand_in_current_device(void);
// Seconds for which anything waits for another process or thread.
STAND_IN_API int stand_in_patience(void);
// True where all of [p, p + bytes) is live memory of the current device; else prints who asked and what is wrong.
STAND_IN_API bool stand_in_on_device(const void* p, size_t bytes, const char* who);
// A line on stderr that starts with "stand-in: ".
STAND_IN_API void stand_in_complain(const char* format, ...) __attribute__((format(printf, 1, 2)));
STAND_IN_API void stand_in_register(const char* name, stand_in::Binder bind);

extern "C" {
// How often the host has waited for the device since the start.
STAND_IN_API unsigned long long stand_in_host_syncs(void);
// A count since the start, of what the file STAND_IN_STATS has under the same two names: ("launches", KERNEL),
// ("library_calls", FUNCTION), ("host_syncs", KIND), ("tallies", KIND). All names of the table together where `name` is null.
STAND_IN_API unsigned long long stand_in_count(const char* table, const char* name);
}
// Counts objects of the libraries that are alive, and copies: `by` is 1 or -1.
STAND_IN_API void stand_in_tally(const char* name, long long by);

// ---- between the files of the driver library -------------------------------------------------
namespace stand_in {
struct Settings {
  bool fast, reverse;  // plain malloc; device threads and blocks run last first
  bool copies;         // say where each copy to the device comes from
  int lazy;            // 0: at once, 1: the last created stream first, 2: the first created first
  size_t bytes;        // memory of a device
  int devices;         // how many there are
  int patience;        // seconds for which anything waits for another process or thread
  const char* stats;   // where the counts go at exit
};
const Settings& settings();

void* device_allocate(size_t bytes, int device);  // nullptr: out of memory
void device_poison(void* p, size_t bytes);     // fill with 0xFF
bool device_mark_freeing(void* p);             // no call may name it from now on; false: not an allocation
void device_release(void* p);                  // unmap
bool device_find(const void* p, void** base, size_t* bytes, int* device);  // the live allocation around p
bool device_touches(const void* p, size_t bytes);             // any byte of it device memory, live or not
size_t device_used(int device);
size_t device_peak(int device);
void device_restart_peak(int device);
unsigned long long device_allocations();
void install_fault_report();

// Runs a whole grid on this thread.
void run_grid(const char* name, Dim grid, Dim block, unsigned shared_bytes, const Work& thread);
// For the fault report: what runs now.
extern const char* running;
extern "C" {
STAND_IN_API extern Dim stand_in_thread, stand_in_block, stand_in_block_dim, stand_in_grid_dim;
}
}  // namespace stand_in
