#include "statistics.h"

namespace stand_in {
namespace {
unsigned long long waits = 0;
}
Statistics& statistics() {
  static Statistics all;
  return all;
}
void count_sync(const char* kind) {
  ++waits;
  ++statistics().syncs[kind];
}
}  // namespace stand_in

unsigned long long stand_in_host_syncs(void) { return stand_in::waits; }
