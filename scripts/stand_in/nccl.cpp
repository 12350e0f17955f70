// NCCL of the stand-in (libnccl.so.2): ranks of one machine, threads or processes. They meet in a folder in shared memory that the
// id names. Each operation is a file of every rank, which the others read; it is posted in the order of the stream, and what
// follows on the stream waits until all have posted theirs. Another count, type or operation on one rank, and a rank that does
// not come within STAND_IN_PATIENCE seconds, are reported, and the result is NaN.
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "elements.h"

using namespace stand_in;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Id {
  char internal[128];
};

namespace {
enum Status { SUCCESS = 0, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, REMOTE_ERROR = 6 };
enum Kind { ALL_REDUCE = 1, BROADCAST = 2 };

struct State {
  std::string folder;
  int rank, size, device;
  uint64_t begun = 0;
  std::atomic<int> on_the_way{0}, error{SUCCESS};
  std::atomic<bool> given_up{false};
};
using Shared = std::shared_ptr<State>;

// What every rank says of an operation; its values follow.
struct Head {
  int kind, type, op, root;
  uint64_t count;
  bool operator==(const Head& o) const {
    return kind == o.kind && type == o.type && op == o.op && root == o.root && count == o.count;
  }
};

thread_local std::string last_error;
thread_local int groups = 0;

int refuse(int status, const std::string& why) {
  last_error = why;
  stand_in_complain("NCCL: %s", why.c_str());
  return status;
}

Type type_of(int code) {
  return code == 7 ? Type::F32 : code == 8 ? Type::F64 : code == 6 ? Type::F16 : code == 9 ? Type::BF16 : Type::None;
}

std::string path_of(const State& s, uint64_t number, int rank) {
  return s.folder + "/" + std::to_string(number) + "." + std::to_string(rank);
}
std::string hello_of(const std::string& folder, int rank) { return folder + "/hello." + std::to_string(rank); }

bool exists(const std::string& path) {
  struct stat found;
  return !stat(path.c_str(), &found);
}

// Whole or not at all.
bool post(const std::string& path, const void* head, size_t head_bytes, const void* body, size_t bytes) {
  const std::string partial = path + ".partial";
  FILE* f = fopen(partial.c_str(), "wb");
  if (!f) return false;
  const bool good = fwrite(head, 1, head_bytes, f) == head_bytes && fwrite(body, 1, bytes, f) == bytes;
  return !fclose(f) && good && !rename(partial.c_str(), path.c_str());
}

bool read_all(const std::string& path, void* head, size_t head_bytes, std::vector<char>& body) {
  FILE* f = fopen(path.c_str(), "rb");
  if (!f) return false;
  bool good = fread(head, 1, head_bytes, f) == head_bytes;
  body.clear();
  char part[65536];
  while (size_t n = good ? fread(part, 1, sizeof part, f) : 0) body.insert(body.end(), part, part + n);
  fclose(f);
  return good;
}

// The operation that never ends.
uint64_t hanging() {
  static const char* named = getenv("STAND_IN_HANG");
  return named ? strtoull(named, nullptr, 10) : UINT64_MAX;
}

int first_missing(const State& s, uint64_t number) {
  for (int rank = 0; rank < s.size; ++rank)
    if (!exists(path_of(s, number, rank))) return rank;
  return -1;
}

std::string describe(const Head& h) {
  return std::string(h.kind == ALL_REDUCE ? "a sum" : "a broadcast") + " of " + std::to_string(h.count) + " values of type " +
         std::to_string(h.type);
}

// The sum is rounded to the type after each rank, as in a ring.
template <class Acc>
void add(void* into, const std::vector<char>& values, Type type, size_t count) {
  for (size_t i = 0; i < count; ++i) put<Acc>(into, type, i, get<Acc>(into, type, i) + get<Acc>(values.data(), type, i));
}

// Reads what all ranks have posted; an empty text where all is well.
std::string complete(const State& s, uint64_t number, const Head& own, void* to) {
  const Type type = type_of(own.type);
  const size_t bytes = own.count * size_of(type);
  std::vector<char> values, sum;
  for (int rank = 0; rank < s.size; ++rank) {
    const std::string who = "rank " + std::to_string(rank);
    Head head;
    if (!read_all(path_of(s, number, rank), &head, sizeof head, values))
      return who + " has not come to operation " + std::to_string(number) + ", for which rank " + std::to_string(s.rank) + " waits";
    if (!(head == own)) return who + " begins " + describe(head) + " where rank " + std::to_string(s.rank) + " begins " + describe(own);
    if (own.kind == BROADCAST ? rank == own.root : rank == 0) sum = values;
    else if (own.kind == ALL_REDUCE) type == Type::F64 ? add<double>(sum.data(), values, type, own.count) : add<float>(sum.data(), values, type, own.count);
  }
  if (sum.size() != bytes) return "what a rank posted is cut short";
  memcpy(to, sum.data(), bytes);
  return "";
}

int begin(const Shared& s, const char* name, Head head, const void* from, void* to, CUstream_st* stream) {
  const Type type = type_of(head.type);
  if (type == Type::None) return refuse(INVALID_ARGUMENT, "number type " + std::to_string(head.type) + " is not supported");
  if (s->device != stand_in_current_device())
    return refuse(INVALID_ARGUMENT, "the communicator is of device " + std::to_string(s->device) + ", and the current one is " +
                                        std::to_string(stand_in_current_device()));
  const size_t bytes = head.count * size_of(type);
  const bool gives = head.kind == ALL_REDUCE || head.root == s->rank;
  if (bytes && ((gives && !stand_in_on_device(from, bytes, name)) || !stand_in_on_device(to, bytes, name)))
    return refuse(INVALID_ARGUMENT, "a buffer is no memory of this device");
  const auto *a = static_cast<const char*>(from), *b = static_cast<const char*>(to);
  if (gives && a != b && a < b + bytes && b < a + bytes) return refuse(INVALID_ARGUMENT, "the buffers overlap");
  const uint64_t number = s->begun++;
  ++s->on_the_way;
  stand_in_enqueue(stream, name, [=] {
    if (!post(path_of(*s, number, s->rank), &head, sizeof head, from, gives ? bytes : 0)) s->error = SYSTEM_ERROR;
  });
  auto since = std::make_shared<Clock::time_point>();
  auto ready = [=] {
    if (s->given_up) return true;
    if (number == hanging()) return false;
    if (first_missing(*s, number) < 0) return true;
    if (*since == Clock::time_point()) *since = Clock::now();
    return Clock::now() - *since > std::chrono::seconds(stand_in_patience());
  };
  stand_in_enqueue_when(stream, name, ready, [=] {
    --s->on_the_way;
    if (s->given_up) return;
    const std::string wrong = complete(*s, number, head, to);
    // All have posted this one, so all have read the one before.
    if (number) unlink(path_of(*s, number - 1, s->rank).c_str());
    if (wrong.empty()) return;
    memset(to, 0xFF, bytes);
    s->error = wrong.find("has not come") == std::string::npos ? INVALID_USAGE : REMOTE_ERROR;
    stand_in_complain("NCCL: %s", wrong.c_str());
  });
  return SUCCESS;
}

// What a rank says when it comes.
struct Hello {
  int size, device;
};

// Waits for all; an empty text where all is well.
std::string meet(const State& s) {
  const auto since = Clock::now();
  std::vector<Hello> all(static_cast<size_t>(s.size));
  std::vector<char> rest;
  for (int rank = 0; rank < s.size; ++rank) {
    const std::string who = "rank " + std::to_string(rank);
    while (!exists(hello_of(s.folder, rank))) {
      if (Clock::now() - since > std::chrono::seconds(stand_in_patience())) return who + " of " + std::to_string(s.size) + " has not come";
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
    Hello& hello = all[static_cast<size_t>(rank)];
    if (!read_all(hello_of(s.folder, rank), &hello, sizeof hello, rest)) return who + " said nothing";
    if (hello.size != s.size) return who + " counts " + std::to_string(hello.size) + " ranks, and rank " + std::to_string(s.rank) + " " + std::to_string(s.size);
    for (int other = 0; other < rank; ++other)
      if (all[static_cast<size_t>(other)].device == hello.device)
        return "Duplicate GPU detected : rank " + std::to_string(other) + " and rank " + std::to_string(rank) + " both on CUDA device " + std::to_string(hello.device);
  }
  return "";
}

// What this process has made goes with it at the latest.
struct Folders {
  pid_t owner = getpid();
  std::mutex lock;
  std::vector<std::string> all;
  ~Folders() {
    std::error_code ignored;
    if (owner == getpid())
      for (const std::string& folder : all) fs::remove_all(folder, ignored);
  }
  void add(const std::string& folder) {
    std::lock_guard<std::mutex> hold(lock);
    all.push_back(folder);
  }
} folders;

// The last to leave removes the folder.
void leave(const State& s) {
  post(s.folder + "/bye." + std::to_string(s.rank), "", 0, "", 0);
  for (int rank = 0; rank < s.size; ++rank)
    if (!exists(s.folder + "/bye." + std::to_string(rank))) return;
  std::error_code ignored;
  fs::remove_all(s.folder, ignored);
}
}  // namespace

struct ncclComm {
  Shared state;
};

#define API extern "C" STAND_IN_API int
API ncclGetVersion(int* version) { *version = 23000; return SUCCESS; }
extern "C" STAND_IN_API const char* ncclGetErrorString(int status) {
  switch (status) {
    case SUCCESS: return "no error";
    case SYSTEM_ERROR: return "unhandled system error";
    case INVALID_ARGUMENT: return "invalid argument";
    case INVALID_USAGE: return "invalid usage";
    case REMOTE_ERROR: return "remote process exited or there was a network error";
    default: return "internal error";
  }
}
extern "C" STAND_IN_API const char* ncclGetLastError(ncclComm*) { return last_error.c_str(); }

API ncclGetUniqueId(Id* id) {
  memset(id, 0, sizeof *id);
  snprintf(id->internal, sizeof id->internal, "/dev/shm/stand-in-nccl-%d-XXXXXX", static_cast<int>(getpid()));
  if (!mkdtemp(id->internal)) return refuse(SYSTEM_ERROR, std::string("no folder in /dev/shm: ") + strerror(errno));
  folders.add(id->internal);
  return SUCCESS;
}
API ncclCommInitRank(ncclComm** comm, int size, Id id, int rank) {
  if (size < 1 || rank < 0 || rank >= size) return refuse(INVALID_ARGUMENT, "rank " + std::to_string(rank) + " of " + std::to_string(size));
  id.internal[sizeof id.internal - 1] = 0;
  const std::string folder = id.internal;
  if (folder.rfind("/dev/shm/stand-in-nccl-", 0) || !exists(folder)) return refuse(INVALID_ARGUMENT, "this id comes from no ncclGetUniqueId of this machine");
  const int device = stand_in_current_device();
  if (exists(hello_of(folder, rank))) return refuse(INVALID_USAGE, "rank " + std::to_string(rank) + " has come before");
  const Hello hello{size, device};
  if (!post(hello_of(folder, rank), &hello, sizeof hello, "", 0)) return refuse(SYSTEM_ERROR, "cannot write to " + folder);
  auto state = std::make_shared<State>();
  state->folder = folder;
  state->rank = rank;
  state->size = size;
  state->device = device;
  const std::string wrong = meet(*state);
  if (!wrong.empty()) return refuse(wrong.find("has not come") == std::string::npos ? INVALID_USAGE : REMOTE_ERROR, wrong);
  *comm = new ncclComm{state};
  return SUCCESS;
}
API ncclCommFinalize(ncclComm* comm) { return comm ? SUCCESS : INVALID_ARGUMENT; }
API ncclCommDestroy(ncclComm* comm) {
  if (!comm) return INVALID_ARGUMENT;
  if (comm->state->on_the_way) stand_in_complain("NCCL: a communicator is destroyed while operations are on their way");
  leave(*comm->state);
  delete comm;
  return SUCCESS;
}
API ncclCommAbort(ncclComm* comm) {
  if (!comm) return INVALID_ARGUMENT;
  comm->state->given_up = true;
  leave(*comm->state);
  delete comm;
  return SUCCESS;
}
API ncclCommCount(ncclComm* comm, int* count) { *count = comm->state->size; return SUCCESS; }
API ncclCommCuDevice(ncclComm* comm, int* device) { *device = comm->state->device; return SUCCESS; }
API ncclCommUserRank(ncclComm* comm, int* rank) { *rank = comm->state->rank; return SUCCESS; }
API ncclCommGetAsyncError(ncclComm* comm, int* status) { *status = comm->state->error; return SUCCESS; }

API ncclGroupStart() { ++groups; return SUCCESS; }
API ncclGroupEnd() { return --groups < 0 ? groups = 0, refuse(INVALID_USAGE, "the end of no group") : int(SUCCESS); }
API ncclAllReduce(const void* from, void* to, size_t count, int type, int op, ncclComm* comm, CUstream_st* stream) {
  if (!comm) return INVALID_ARGUMENT;
  if (op) return refuse(INVALID_ARGUMENT, "only sums are supported");
  return begin(comm->state, "ncclAllReduce", {ALL_REDUCE, type, op, 0, count}, from, to, stream);
}
API ncclBroadcast(const void* from, void* to, size_t count, int type, int root, ncclComm* comm, CUstream_st* stream) {
  if (!comm || root < 0 || root >= comm->state->size) return INVALID_ARGUMENT;
  return begin(comm->state, "ncclBroadcast", {BROADCAST, type, 0, root, count}, from, to, stream);
}
