// Self-test of several devices and of NCCL: two devices, with a thread or a process for each.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {
using Ptr = unsigned long long;
struct Id {
  char internal[128];
};
constexpr int F32 = 7, BF16 = 9, SUM = 0;
void *cuda, *nccl;
int failures = 0;

template <class... A>
int call(void* library, const char* name, A... arguments) {
  auto f = reinterpret_cast<int (*)(A...)>(dlsym(library, name));
  if (!f) printf("no function %s\n", name), exit(1);
  return f(arguments...);
}
template <class... A>
void must(void* library, const char* name, A... arguments) {
  const int status = call(library, name, arguments...);
  if (status) printf("%s answers %d\n", name, status), exit(1);
}
void expect(bool good, const std::string& what) {
  if (!good) ++failures;
  printf("  %s %s\n", good ? "ok  " : "FAIL", what.c_str());
}

void* use(int device) {
  void *context, *stream;
  must(cuda, "cuInit", 0u);
  must(cuda, "cuDevicePrimaryCtxRetain", &context, device);
  must(cuda, "cuCtxSetCurrent", context);
  must(cuda, "cuStreamCreate", &stream, 1u);
  return stream;
}
Ptr space(size_t bytes) {
  Ptr p;
  must(cuda, "cuMemAlloc_v2", &p, bytes);
  return p;
}

// What a rank gets as the sum of `count` times its value, begun `times` one after another.
std::vector<float> sum(int rank, int device, const Id& id, float value, size_t count, int times, int* status) {
  void *stream = use(device), *comm = nullptr;
  const size_t bytes = 64 * sizeof(float);
  const Ptr from = space(bytes), to = space(bytes);
  std::vector<float> host(64, value);
  *status = call(nccl, "ncclCommInitRank", &comm, 2, id, rank);
  if (*status) return host;
  for (int i = 0; i < times; ++i) {
    for (float& v : host) v = value + static_cast<float>(i);
    must(cuda, "cuMemcpyHtoDAsync_v2", from, static_cast<const void*>(host.data()), bytes, stream);
    must(nccl, "ncclGroupStart");
    must(nccl, "ncclAllReduce", reinterpret_cast<const void*>(from), reinterpret_cast<void*>(to), count, F32, SUM, comm, stream);
    must(nccl, "ncclGroupEnd");
  }
  must(cuda, "cuMemcpyDtoHAsync_v2", static_cast<void*>(host.data()), to, bytes, stream);
  must(cuda, "cuStreamSynchronize", stream);
  must(nccl, "ncclCommGetAsyncError", comm, status);
  must(nccl, "ncclCommDestroy", comm);
  return host;
}

Id fresh() {
  Id id;
  must(nccl, "ncclGetUniqueId", &id);
  return id;
}

struct Got {
  std::vector<float> values;
  int status;
};
// Two threads, each with its device and count.
std::vector<Got> both(int device0, int device1, size_t count0, size_t count1, int times) {
  const Id id = fresh();
  std::vector<Got> got(2);
  std::thread other([&] { got[1].values = sum(1, device1, id, 10, count1, times, &got[1].status); });
  got[0].values = sum(0, device0, id, 1, count0, times, &got[0].status);
  other.join();
  return got;
}

void devices() {
  int count = 0;
  must(cuda, "cuDeviceGetCount", &count);
  expect(count == 2, "there are two devices");
  void *mine = use(0), *theirs = use(1);
  const Ptr p = space(64);
  float host[16] = {};
  expect(call(cuda, "cuStreamSynchronize", theirs) == 0 && call(cuda, "cuStreamSynchronize", mine) != 0, "a stream of another device is refused");
  use(0);
  expect(call(cuda, "cuMemcpyHtoD_v2", p, static_cast<const void*>(host), sizeof host) == 1, "memory of another device is refused");
  expect(call(cuda, "cuDevicePrimaryCtxRetain", &mine, 2) == 101, "a third device is refused");
}

void ranks() {
  for (int times : {1, 5}) {
    const auto got = both(0, 1, 64, 64, times);
    const float want = 11.0f + 2.0f * static_cast<float>(times - 1);
    expect(got[0].values[63] == want && got[1].values[0] == want && !got[0].status, "threads get the sums of the last of " + std::to_string(times));
  }
  auto got = both(0, 1, 64, 32, 1);
  expect(got[0].status == 5 && got[1].status == 5 && std::isnan(got[0].values[0]), "another count on one rank is reported");
  got = both(1, 1, 64, 64, 1);
  expect(got[0].status == 5 && got[1].status == 5, "two ranks on one device are refused");
  void* comm;
  use(0);
  expect(call(nccl, "ncclCommInitRank", &comm, 2, fresh(), 0) == 6, "a rank that does not come is reported");
}

void processes() {
  const Id id = fresh();
  const pid_t child = fork();
  int status;
  if (!child) {
    const auto got = sum(1, 1, id, 10, 64, 3, &status);
    _exit(status || got[5] != 15);
  }
  const auto got = sum(0, 0, id, 1, 64, 3, &status);
  int ended;
  waitpid(child, &ended, 0);
  expect(got[5] == 15 && !status && !ended, "processes get the sums");
}
}  // namespace

int main() {
  setenv("STAND_IN_DEVICES", "2", 1);
  setenv("STAND_IN_PATIENCE", "1", 1);
  cuda = dlopen("libcuda.so.1", RTLD_NOW);
  nccl = dlopen("libnccl.so.2", RTLD_NOW);
  if (!cuda || !nccl) return printf("%s\n", dlerror()), 1;
  processes();  // before there are threads
  devices();
  ranks();
  printf("%s\n", failures ? "the self-test of several devices FAILED" : "the self-test of several devices passed");
  return failures != 0;
}
