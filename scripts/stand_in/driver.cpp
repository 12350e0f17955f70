// The driver API of the stand-in (libcuda.so.1): devices, memory, copies, streams, events,
// modules and launches. What is not here answers "not supported" (stubs that make.sh generates).
#include <cuda.h>
#include <dirent.h>
#include <dlfcn.h>
#include <execinfo.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "queue.h"
#include "statistics.h"

using namespace stand_in;

struct CUfunc_st {
  std::string name;
  Binder bind;
  int shared_most;  // bytes of dynamic shared memory a launch may ask for
  int device;
};
struct CUmod_st {
  int device;
  std::string ptx;  // empty where the image is no PTX
  std::map<std::string, CUfunc_st> functions;
};

namespace {
constexpr int SHARED_PLAIN = 49152, SHARED_MOST = 232448, THREADS_MOST = 1024, DEVICES_MOST = 64;
std::recursive_mutex& lock = driver_lock();
bool started = false;
thread_local CUcontext bound = nullptr;
char contexts[DEVICES_MOST], pools[DEVICES_MOST];  // their addresses are the handles
cuuint64_t release_threshold = 0;
std::map<uintptr_t, size_t> pinned;
std::set<CUmodule> modules;
std::set<CUevent> events;
std::map<std::string, Binder>& kernels() {
  static std::map<std::string, Binder> table;
  return table;
}

CUcontext context_of(int device) { return reinterpret_cast<CUcontext>(contexts + device); }
CUmemoryPool pool_of(int device) { return reinterpret_cast<CUmemoryPool>(pools + device); }
int current() { return stand_in_current_device(); }
bool is_device(int device) { return device >= 0 && device < settings().devices; }
int device_of(CUmemoryPool pool) { return static_cast<int>(reinterpret_cast<char*>(pool) - pools); }
Event* as_event(CUevent e) { return events.count(e) ? reinterpret_cast<Event*>(e) : nullptr; }
void* device(CUdeviceptr p) { return reinterpret_cast<void*>(static_cast<uintptr_t>(p)); }

CUresult refuse(CUresult code, const char* what) {
  stand_in_complain("%s", what);
  return code;
}

// Kernels are compiled into DIR/kernels/*.so, where DIR holds this library.
void load_kernels() {
  Dl_info here;
  dladdr(reinterpret_cast<void*>(&load_kernels), &here);
  const std::string file = here.dli_fname;
  const std::string folder = file.substr(0, file.find_last_of('/') + 1) + "kernels/";
  DIR* d = opendir(folder.c_str());
  if (!d) return stand_in_complain("no folder %s: there are no kernels", folder.c_str());
  while (dirent* entry = readdir(d)) {
    const std::string name = entry->d_name;
    if (name.size() < 3 || name.substr(name.size() - 3) != ".so") continue;
    if (!dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL)) stand_in_complain("%s", dlerror());
  }
  closedir(d);
}

bool is_pinned(const void* p, size_t bytes) {
  auto it = pinned.upper_bound(reinterpret_cast<uintptr_t>(p));
  if (it == pinned.begin()) return false;
  --it;
  return reinterpret_cast<uintptr_t>(p) + bytes <= it->first + it->second;
}

bool good_host(const void* p, size_t bytes, const char* who) {
  if (p && !device_touches(p, bytes)) return true;
  stand_in_complain("%s: %p is not host memory", who, p);
  return false;
}

// Who copies: the callers' addresses, for addr2line.
void tell_copy(size_t bytes) {
  void* callers[40];
  const int count = backtrace(callers, 40);
  stand_in_complain("%zu bytes to the device, from", bytes);
  backtrace_symbols_fd(callers, count, 2);
}

CUresult copy_in(CUdeviceptr to, const void* from, size_t bytes, Stream* stream, bool wait) {
  const char* who = "copy host to device";
  if (!bytes) return CUDA_SUCCESS;
  if (!stand_in_on_device(device(to), bytes, who) || !good_host(from, bytes, who)) return CUDA_ERROR_INVALID_VALUE;
  statistics().bytes_in += bytes;
  stand_in_tally("copies to device", 1);
  if (settings().copies) tell_copy(bytes);
  void* target = device(to);
  const bool at_once = !settings().lazy && stream->items.empty();
  if (at_once || wait || is_pinned(from, bytes)) {
    push(stream, {who, [=] { memcpy(target, from, bytes); }, nullptr, 0, {}});
  } else {  // pageable memory: the source may change as soon as the call returns
    auto copy = std::make_shared<std::vector<char>>(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
    push(stream, {who, [=] { memcpy(target, copy->data(), bytes); }, nullptr, 0, {}});
  }
  if (wait) drain(stream);
  return CUDA_SUCCESS;
}

CUresult copy_out(void* to, CUdeviceptr from, size_t bytes, Stream* stream, bool wait) {
  const char* who = "copy device to host";
  if (!bytes) return CUDA_SUCCESS;
  if (!stand_in_on_device(device(from), bytes, who) || !good_host(to, bytes, who)) return CUDA_ERROR_INVALID_VALUE;
  statistics().bytes_out += bytes;
  const void* source = device(from);
  push(stream, {who, [=] { memcpy(to, source, bytes); }, nullptr, 0, {}});
  const bool pageable = !is_pinned(to, bytes);
  if (wait || pageable) {
    count_sync(wait ? "copy" : "copy to pageable memory");
    drain(stream);
  }
  return CUDA_SUCCESS;
}

CUresult copy_within(CUdeviceptr to, CUdeviceptr from, size_t bytes, Stream* stream) {
  const char* who = "copy device to device";
  if (!bytes) return CUDA_SUCCESS;
  if (!stand_in_on_device(device(to), bytes, who) || !stand_in_on_device(device(from), bytes, who))
    return CUDA_ERROR_INVALID_VALUE;
  statistics().bytes_within += bytes;
  push(stream, {who, [=] { memmove(device(to), device(from), bytes); }, nullptr, 0, {}});
  return CUDA_SUCCESS;
}

template <class T>
CUresult fill(CUdeviceptr to, T value, size_t n, Stream* stream) {
  const char* who = "fill device memory";
  if (!n) return CUDA_SUCCESS;
  if (!stand_in_on_device(device(to), n * sizeof(T), who)) return CUDA_ERROR_INVALID_VALUE;
  push(stream, {who, [=] { std::fill_n(static_cast<T*>(device(to)), n, value); }, nullptr, 0, {}});
  return CUDA_SUCCESS;
}

CUresult allocate(CUdeviceptr* out, size_t bytes, Stream* stream) {
  *out = 0;
  if (!bytes) return CUDA_SUCCESS;
  void* p = device_allocate(bytes, current());
  if (!p) return CUDA_ERROR_OUT_OF_MEMORY;
  device_poison(p, bytes);
  // A use that comes before the allocation in the streams' order loses what it wrote.
  if (settings().lazy && stream) push(stream, {"allocation", [=] { device_poison(p, bytes); }, nullptr, 0, {}});
  *out = reinterpret_cast<uintptr_t>(p);
  return CUDA_SUCCESS;
}

CUresult launch(CUfunction f, Dim grid, Dim block, unsigned shared, CUstream handle, void** params) {
  Stream* stream = stream_find(handle);
  if (!stream || !f) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->device != current() || f->device != current()) {
    stand_in_complain("%s: the kernel is of device %d, the stream of device %d, and the current one is %d", f->name.c_str(),
                      f->device, stream->device, current());
    return CUDA_ERROR_INVALID_HANDLE;
  }
  const size_t threads = size_t(block.x) * block.y * block.z;
  const bool bad_block = threads == 0 || threads > THREADS_MOST || block.z > 64;
  const bool bad_grid = !grid.x || !grid.y || !grid.z || grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z > 65535;
  if (bad_block || bad_grid || shared > static_cast<unsigned>(f->shared_most)) {
    stand_in_complain("%s: a launch with grid (%u, %u, %u), block (%u, %u, %u) and %u bytes of shared memory "
                      "(at most %d) is not possible", f->name.c_str(), grid.x, grid.y, grid.z, block.x, block.y,
                      block.z, shared, f->shared_most);
    return CUDA_ERROR_INVALID_VALUE;
  }
  const char* name = kernels().find(f->name)->first.c_str();
  Work thread = f->bind(name, params);
  if (!thread) return CUDA_ERROR_INVALID_VALUE;
  ++statistics().launches[name];
  push(stream, {name, [=] { run_grid(name, grid, block, shared, thread); }, nullptr, 0, {}});
  return CUDA_SUCCESS;
}

int device_attribute(CUdevice_attribute a) {
  switch (a) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return 9;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return 0;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: return THREADS_MOST;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: return 64;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: return 0x7FFFFFFF;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: return SHARED_PLAIN;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return SHARED_MOST;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: return 233472;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: return 2048;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: return 32;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: return 65536;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return 8;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: return 1000000;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: return 4096;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: return 1 << 20;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: return 1;
    default: return 0;
  }
}
}  // namespace

namespace stand_in {
const Settings& settings() {
  static const Settings read = [] {
    auto number = [](const char* name) { const char* v = getenv(name); return v ? strtoull(v, nullptr, 10) : 0ull; };
    Settings s;
    s.fast = number("STAND_IN_FAST");
    s.reverse = number("STAND_IN_REVERSE");
    s.copies = number("STAND_IN_COPIES");
    s.lazy = static_cast<int>(number("STAND_IN_LAZY"));
    s.devices = static_cast<int>(number("STAND_IN_DEVICES") ? number("STAND_IN_DEVICES") : 1);
    s.devices = s.devices > DEVICES_MOST ? DEVICES_MOST : s.devices;
    s.patience = static_cast<int>(number("STAND_IN_PATIENCE") ? number("STAND_IN_PATIENCE") : 60);
    s.bytes = number("STAND_IN_BYTES") ? number("STAND_IN_BYTES") : size_t(16) << 30;
    s.stats = getenv("STAND_IN_STATS");
    return s;
  }();
  return read;
}
}  // namespace stand_in

void stand_in_register(const char* name, Binder bind) {
  if (!kernels().emplace(name, bind).second) stand_in_complain("two kernels have the name %s", name);
}

int stand_in_current_device(void) { return bound ? static_cast<int>(reinterpret_cast<char*>(bound) - contexts) : 0; }
int stand_in_patience(void) { return settings().patience; }

void stand_in_enqueue(CUstream_st* handle, const char* name, Work work) {
  stand_in_enqueue_when(handle, name, {}, std::move(work));
}

void stand_in_enqueue_when(CUstream_st* handle, const char* name, std::function<bool()> ready, Work work) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  if (!ready) ++statistics().calls[name];
  Stream* stream = stream_find(handle);
  if (!stream) return stand_in_complain("%s: no such stream", name);
  if (stream->device != current())
    return stand_in_complain("%s: the stream is of device %d, and the current one is %d", name, stream->device, current());
  push(stream, {name, std::move(work), nullptr, 0, std::move(ready)});
}

void stand_in_tally(const char* name, long long by) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  statistics().tallies[name] += static_cast<unsigned long long>(by);
}

unsigned long long stand_in_count(const char* table, const char* name) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  return statistics().count(table, name);
}

#define API extern "C" STAND_IN_API CUresult
#define ENTER                                              \
  std::lock_guard<std::recursive_mutex> hold(lock);        \
  if (!started) return refuse(CUDA_ERROR_NOT_INITIALIZED, "cuInit was not called")
#define ENTER_BOUND \
  ENTER;            \
  if (!bound) return refuse(CUDA_ERROR_INVALID_CONTEXT, "this host thread has no current context")
#define STREAM(handle)                                                              \
  Stream* stream = stream_find(handle);                                             \
  if (!stream) return refuse(CUDA_ERROR_INVALID_HANDLE, "no such stream");          \
  if (stream->device != current()) return refuse(CUDA_ERROR_INVALID_HANDLE, "a stream of another device than the current one")
#define DEVICE(d) \
  ENTER;          \
  if (!is_device(d)) return refuse(CUDA_ERROR_INVALID_DEVICE, "no such device")

// ---- the device and its context --------------------------------------------------------------
API cuInit(unsigned) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  if (started) return CUDA_SUCCESS;
  started = true;
  install_fault_report();
  load_kernels();
  stream_find(nullptr);
  return CUDA_SUCCESS;
}
API cuDriverGetVersion(int* version) { *version = 13000; return CUDA_SUCCESS; }
API cuDeviceGetCount(int* count) { ENTER; *count = settings().devices; return CUDA_SUCCESS; }
API cuDeviceGet(CUdevice* d, int ordinal) {
  ENTER;
  *d = ordinal;
  return is_device(ordinal) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
API cuDeviceGetName(char* name, int length, CUdevice d) { DEVICE(d); snprintf(name, static_cast<size_t>(length), "stand-in"); return CUDA_SUCCESS; }
API cuDeviceGetUuid(CUuuid* uuid, CUdevice d) { DEVICE(d); memset(uuid, 0x51 + d, sizeof *uuid); return CUDA_SUCCESS; }
API cuDeviceTotalMem(size_t* bytes, CUdevice d) { DEVICE(d); *bytes = settings().bytes; return CUDA_SUCCESS; }
API cuDeviceGetAttribute(int* value, CUdevice_attribute a, CUdevice d) { DEVICE(d); *value = device_attribute(a); return CUDA_SUCCESS; }
API cuDevicePrimaryCtxRetain(CUcontext* c, CUdevice d) { DEVICE(d); *c = context_of(d); return CUDA_SUCCESS; }
API cuDevicePrimaryCtxRelease(CUdevice d) { DEVICE(d); return CUDA_SUCCESS; }
API cuCtxGetCurrent(CUcontext* c) { ENTER; *c = bound; return CUDA_SUCCESS; }
API cuCtxSetCurrent(CUcontext c) { ENTER; bound = c; return CUDA_SUCCESS; }
API cuCtxGetDevice(CUdevice* d) { ENTER_BOUND; *d = current(); return CUDA_SUCCESS; }
API cuCtxSetFlags(unsigned) { ENTER_BOUND; return CUDA_SUCCESS; }
API cuCtxGetStreamPriorityRange(int* least, int* most) { ENTER_BOUND; *least = 0; *most = -5; return CUDA_SUCCESS; }
API cuCtxSynchronize() {
  ENTER_BOUND;
  count_sync("context");
  drain_device(current());
  return CUDA_SUCCESS;
}
API cuGetErrorName(CUresult error, const char** text) {
  static std::map<int, std::string> names;
  std::lock_guard<std::recursive_mutex> hold(lock);
  std::string& name = names[error];
  if (name.empty()) {
    const std::map<int, const char*> known = {
        {0, "CUDA_SUCCESS"}, {1, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"},
        {3, "CUDA_ERROR_NOT_INITIALIZED"}, {101, "CUDA_ERROR_INVALID_DEVICE"}, {201, "CUDA_ERROR_INVALID_CONTEXT"},
        {400, "CUDA_ERROR_INVALID_HANDLE"}, {500, "CUDA_ERROR_NOT_FOUND"}, {600, "CUDA_ERROR_NOT_READY"},
        {801, "CUDA_ERROR_NOT_SUPPORTED"}};
    auto it = known.find(error);
    name = it == known.end() ? "CUDA_ERROR_" + std::to_string(error) : it->second;
  }
  *text = name.c_str();
  return CUDA_SUCCESS;
}
API cuGetErrorString(CUresult error, const char** text) { return cuGetErrorName(error, text); }

// ---- memory ----------------------------------------------------------------------------------
API cuMemAlloc(CUdeviceptr* p, size_t bytes) {
  ENTER_BOUND;
  return bytes ? allocate(p, bytes, nullptr) : refuse(CUDA_ERROR_INVALID_VALUE, "cuMemAlloc of 0 bytes");
}
API cuMemAllocAsync(CUdeviceptr* p, size_t bytes, CUstream s) { ENTER_BOUND; STREAM(s); return allocate(p, bytes, stream); }
API cuMemAllocFromPoolAsync(CUdeviceptr* p, size_t bytes, CUmemoryPool, CUstream s) { return cuMemAllocAsync(p, bytes, s); }
API cuMemFree(CUdeviceptr p) {
  ENTER_BOUND;
  if (!p) return CUDA_SUCCESS;
  if (!device_mark_freeing(device(p))) return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFree of what is no allocation, or twice");
  count_sync("free");
  drain_device(current());
  device_release(device(p));
  return CUDA_SUCCESS;
}
API cuMemFreeAsync(CUdeviceptr p, CUstream s) {
  ENTER_BOUND;
  STREAM(s);
  if (!p) return CUDA_SUCCESS;
  if (!device_mark_freeing(device(p))) return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFreeAsync of what is no allocation, or twice");
  push(stream, {"free", [=] { device_release(device(p)); }, nullptr, 0, {}});
  return CUDA_SUCCESS;
}
API cuMemGetInfo(size_t* available, size_t* total) {
  ENTER_BOUND;
  *total = settings().bytes;
  *available = *total - device_used(current());
  return CUDA_SUCCESS;
}
API cuMemHostAlloc(void** p, size_t bytes, unsigned) {
  ENTER_BOUND;
  *p = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (!*p) return CUDA_ERROR_OUT_OF_MEMORY;
  memset(*p, 0xFF, bytes);
  pinned[reinterpret_cast<uintptr_t>(*p)] = bytes;
  return CUDA_SUCCESS;
}
API cuMemAllocHost(void** p, size_t bytes) { return cuMemHostAlloc(p, bytes, 0); }
API cuMemFreeHost(void* p) {
  ENTER_BOUND;
  drain_device(current());
  if (!pinned.erase(reinterpret_cast<uintptr_t>(p))) return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFreeHost of what is no pinned memory");
  free(p);
  return CUDA_SUCCESS;
}
API cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t n) { ENTER_BOUND; return copy_in(to, from, n, stream_find(nullptr), true); }
API cuMemcpyDtoH(void* to, CUdeviceptr from, size_t n) { ENTER_BOUND; return copy_out(to, from, n, stream_find(nullptr), true); }
API cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t n) { ENTER_BOUND; return copy_within(to, from, n, stream_find(nullptr)); }
API cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t n, CUstream s) { ENTER_BOUND; STREAM(s); return copy_in(to, from, n, stream, false); }
API cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t n, CUstream s) { ENTER_BOUND; STREAM(s); return copy_out(to, from, n, stream, false); }
API cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) { ENTER_BOUND; STREAM(s); return copy_within(to, from, n, stream); }
API cuMemsetD8(CUdeviceptr p, unsigned char v, size_t n) { ENTER_BOUND; return fill(p, v, n, stream_find(nullptr)); }
API cuMemsetD32(CUdeviceptr p, unsigned v, size_t n) { ENTER_BOUND; return fill(p, v, n, stream_find(nullptr)); }
API cuMemsetD8Async(CUdeviceptr p, unsigned char v, size_t n, CUstream s) { ENTER_BOUND; STREAM(s); return fill(p, v, n, stream); }
API cuMemsetD16Async(CUdeviceptr p, unsigned short v, size_t n, CUstream s) { ENTER_BOUND; STREAM(s); return fill(p, v, n, stream); }
API cuMemsetD32Async(CUdeviceptr p, unsigned v, size_t n, CUstream s) { ENTER_BOUND; STREAM(s); return fill(p, v, n, stream); }
API cuPointerGetAttribute(void* out, CUpointer_attribute a, CUdeviceptr p) {
  ENTER_BOUND;
  void* base;
  size_t bytes;
  int owner = current();
  const bool on_device = device_find(device(p), &base, &bytes, &owner), on_host = is_pinned(device(p), 1);
  if (!on_device && !on_host) return CUDA_ERROR_INVALID_VALUE;
  if (a == CU_POINTER_ATTRIBUTE_MEMORY_TYPE) *static_cast<unsigned*>(out) = on_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
  else if (a == CU_POINTER_ATTRIBUTE_CONTEXT) *static_cast<CUcontext*>(out) = context_of(owner);
  else if (a == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) *static_cast<int*>(out) = owner;
  else if (a == CU_POINTER_ATTRIBUTE_DEVICE_POINTER) *static_cast<CUdeviceptr*>(out) = p;
  else return CUDA_ERROR_NOT_SUPPORTED;
  return CUDA_SUCCESS;
}
API cuDeviceGetDefaultMemPool(CUmemoryPool* p, CUdevice d) { DEVICE(d); *p = pool_of(d); return CUDA_SUCCESS; }
API cuDeviceGetMemPool(CUmemoryPool* p, CUdevice d) { DEVICE(d); *p = pool_of(d); return CUDA_SUCCESS; }
API cuDeviceSetMemPool(CUdevice d, CUmemoryPool) { DEVICE(d); return CUDA_SUCCESS; }
API cuMemPoolTrimTo(CUmemoryPool, size_t) { ENTER; return CUDA_SUCCESS; }
API cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute a, void* value) {
  ENTER;
  if (a == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) release_threshold = *static_cast<cuuint64_t*>(value);
  if (a == CU_MEMPOOL_ATTR_USED_MEM_HIGH || a == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH) {
    if (*static_cast<cuuint64_t*>(value)) return refuse(CUDA_ERROR_INVALID_VALUE, "a high-water mark can only be set to 0");
    device_restart_peak(device_of(pool));
  }
  return CUDA_SUCCESS;
}
API cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute a, void* value) {
  ENTER;
  if (a <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES) *static_cast<int*>(value) = 1;
  else if (a == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) *static_cast<cuuint64_t*>(value) = release_threshold;
  else *static_cast<cuuint64_t*>(value) = a == CU_MEMPOOL_ATTR_USED_MEM_HIGH || a == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH ? device_peak(device_of(pool)) : device_used(device_of(pool));
  return CUDA_SUCCESS;
}

// ---- streams and events ----------------------------------------------------------------------
API cuStreamCreate(CUstream* s, unsigned flags) {
  ENTER_BOUND;
  *s = reinterpret_cast<CUstream>(stream_create(!(flags & CU_STREAM_NON_BLOCKING), current()));
  return CUDA_SUCCESS;
}
API cuStreamCreateWithPriority(CUstream* s, unsigned flags, int) { return cuStreamCreate(s, flags); }
API cuStreamDestroy(CUstream s) { ENTER; return stream_destroy(s) ? CUDA_SUCCESS : refuse(CUDA_ERROR_INVALID_HANDLE, "no such stream to destroy"); }
API cuStreamSynchronize(CUstream s) {
  ENTER_BOUND;
  STREAM(s);
  count_sync("stream");
  drain(stream);
  return CUDA_SUCCESS;
}
API cuStreamQuery(CUstream s) { ENTER_BOUND; STREAM(s); return stream->items.empty() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY; }
API cuStreamGetCtx(CUstream s, CUcontext* c) { ENTER_BOUND; STREAM(s); *c = context_of(stream->device); return CUDA_SUCCESS; }
API cuStreamIsCapturing(CUstream, CUstreamCaptureStatus* status) { ENTER; *status = CU_STREAM_CAPTURE_STATUS_NONE; return CUDA_SUCCESS; }
API cuStreamWaitEvent(CUstream s, CUevent e, unsigned) {
  ENTER_BOUND;
  STREAM(s);
  Event* event = as_event(e);
  if (!event) return refuse(CUDA_ERROR_INVALID_HANDLE, "no such event to wait for");
  if (event->state->issued > event->state->done) push(stream, {"event wait", {}, event->state, event->state->issued, {}});
  return CUDA_SUCCESS;
}
API cuLaunchHostFunc(CUstream s, CUhostFn f, void* data) { ENTER_BOUND; STREAM(s); push(stream, {"host function", [=] { f(data); }, nullptr, 0, {}}); return CUDA_SUCCESS; }
API cuEventCreate(CUevent* e, unsigned flags) {
  ENTER_BOUND;
  auto* event = new Event{current()};
  event->state->timing = !(flags & CU_EVENT_DISABLE_TIMING);
  *e = reinterpret_cast<CUevent>(event);
  events.insert(*e);
  return CUDA_SUCCESS;
}
API cuEventDestroy(CUevent e) {
  ENTER;
  if (!events.erase(e)) return refuse(CUDA_ERROR_INVALID_HANDLE, "no such event to destroy");
  delete reinterpret_cast<Event*>(e);
  return CUDA_SUCCESS;
}
API cuEventRecord(CUevent e, CUstream s) {
  ENTER_BOUND;
  STREAM(s);
  Event* event = as_event(e);
  if (!event) return refuse(CUDA_ERROR_INVALID_HANDLE, "no such event to record");
  if (event->device != stream->device) return refuse(CUDA_ERROR_INVALID_HANDLE, "an event of one device on a stream of another");
  auto state = event->state;
  const uint64_t ticket = ++state->issued;
  push(stream, {"event record", [=] {
    state->done = ticket > state->done ? ticket : state->done;
    state->when = std::chrono::steady_clock::now();
  }, nullptr, 0, {}});
  return CUDA_SUCCESS;
}
API cuEventQuery(CUevent e) {
  ENTER_BOUND;
  Event* event = as_event(e);
  if (!event) return CUDA_ERROR_INVALID_HANDLE;
  return event->state->done >= event->state->issued ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
API cuEventSynchronize(CUevent e) {
  ENTER_BOUND;
  Event* event = as_event(e);
  if (!event) return CUDA_ERROR_INVALID_HANDLE;
  count_sync("event");
  drain_event(event->state, event->state->issued);
  return CUDA_SUCCESS;
}
API cuEventElapsedTime(float* ms, CUevent from, CUevent to) {
  ENTER_BOUND;
  Event *a = as_event(from), *b = as_event(to);
  if (!a || !b || !a->state->timing || !b->state->timing || !a->state->issued || !b->state->issued)
    return refuse(CUDA_ERROR_INVALID_HANDLE, "an event has no time: it was not recorded, or made without timing");
  if (a->state->done < a->state->issued || b->state->done < b->state->issued) return CUDA_ERROR_NOT_READY;
  *ms = std::chrono::duration<float, std::milli>(b->state->when - a->state->when).count();
  return CUDA_SUCCESS;
}

// ---- modules and launches --------------------------------------------------------------------
API cuModuleLoadData(CUmodule* m, const void* image) {
  ENTER_BOUND;
  const char* text = static_cast<const char*>(image);
  auto* module = new CUmod_st{current(), {}, {}};
  const bool printable = text[0] == '/' || text[0] == '.' || text[0] == '\n' || text[0] == ' ';
  if (printable && strstr(text, ".entry")) module->ptx = text;
  modules.insert(*m = module);
  return CUDA_SUCCESS;
}
API cuModuleLoadDataEx(CUmodule* m, const void* image, unsigned, CUjit_option*, void**) { return cuModuleLoadData(m, image); }
API cuModuleLoadFatBinary(CUmodule* m, const void* image) { return cuModuleLoadData(m, image); }
API cuModuleUnload(CUmodule m) {
  ENTER;
  if (!modules.erase(m)) return CUDA_ERROR_INVALID_HANDLE;
  drain_device(m->device);
  delete m;
  return CUDA_SUCCESS;
}
// Functions are found by name; where the image is PTX it must declare the name as well.
API cuModuleGetFunction(CUfunction* f, CUmodule m, const char* name) {
  ENTER_BOUND;
  if (!modules.count(m)) return CUDA_ERROR_INVALID_HANDLE;
  if (m->device != current()) return refuse(CUDA_ERROR_INVALID_CONTEXT, "a module of another device than the current one");
  auto kernel = kernels().find(name);
  const bool declared = m->ptx.empty() || m->ptx.find(std::string(".entry ") + name + "(") != std::string::npos;
  if (kernel == kernels().end() || !declared) {
    stand_in_complain("%s kernel %s", declared ? "there is no compiled" : "the module's PTX has no", name);
    return CUDA_ERROR_NOT_FOUND;
  }
  *f = &m->functions.emplace(name, CUfunc_st{name, kernel->second, SHARED_PLAIN, m->device}).first->second;
  return CUDA_SUCCESS;
}
API cuFuncSetCacheConfig(CUfunction, CUfunc_cache) { ENTER; return CUDA_SUCCESS; }
API cuFuncSetAttribute(CUfunction f, CUfunction_attribute a, int value) {
  ENTER;
  if (a != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_SUCCESS;
  if (value < 0 || value > SHARED_MOST) return refuse(CUDA_ERROR_INVALID_VALUE, "more dynamic shared memory than a block can have");
  f->shared_most = value;
  return CUDA_SUCCESS;
}
API cuFuncGetAttribute(int* value, CUfunction_attribute a, CUfunction f) {
  ENTER;
  const bool dynamic = a == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
  *value = a == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? THREADS_MOST : dynamic ? f->shared_most
         : a == CU_FUNC_ATTRIBUTE_NUM_REGS ? 32 : a == CU_FUNC_ATTRIBUTE_PTX_VERSION ? 90 : 0;
  return CUDA_SUCCESS;
}
API cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction, int threads, size_t, unsigned) {
  ENTER;
  *blocks = threads > 0 && threads <= THREADS_MOST ? (2048 / threads > 32 ? 32 : 2048 / threads) : 0;
  return CUDA_SUCCESS;
}
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction f, int threads, size_t shared) {
  return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, f, threads, shared, 0);
}
API cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block, CUfunction, CUoccupancyB2DSize, size_t, int limit, unsigned) {
  ENTER;
  *block = limit > 0 && limit < THREADS_MOST ? limit : THREADS_MOST;
  *grid = 16;
  return CUDA_SUCCESS;
}
API cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction f, CUoccupancyB2DSize b, size_t shared, int limit) {
  return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, f, b, shared, limit, 0);
}
API cuOccupancyAvailableDynamicSMemPerBlock(size_t* bytes, CUfunction, int blocks, int) {
  ENTER;
  *bytes = static_cast<size_t>(blocks > 0 ? SHARED_MOST / blocks : 0);
  return CUDA_SUCCESS;
}
API cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, CUstream s, void** params, void** extra) {
  ENTER_BOUND;
  if (extra) return refuse(CUDA_ERROR_NOT_SUPPORTED, "kernel arguments in a buffer");
  return launch(f, {gx, gy, gz}, {bx, by, bz}, shared, s, params);
}
API cuLaunchKernelEx(const CUlaunchConfig* c, CUfunction f, void** params, void** extra) {
  return cuLaunchKernel(f, c->gridDimX, c->gridDimY, c->gridDimZ, c->blockDimX, c->blockDimY, c->blockDimZ,
                        c->sharedMemBytes, c->hStream, params, extra);
}
