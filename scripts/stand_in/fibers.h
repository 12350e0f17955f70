// What a compiled kernel asks of the kernel runner while one of its threads runs.
#pragma once
#include "stand_in.h"

namespace stand_in {
enum class WarpKind { Sync, Shuffle, Ballot };
// All live threads of the block meet; `line` must be the same for all.
STAND_IN_API void barrier(int line);
// All live lanes in `mask` meet. Shuffle: the value of lane `source`. Ballot: the lanes whose value is not 0.
STAND_IN_API uint64_t warp_operation(WarpKind kind, unsigned mask, uint64_t value, int source);
STAND_IN_API unsigned lane_number();
STAND_IN_API unsigned active_lanes();
STAND_IN_API void* dynamic_shared();
// Fills a __shared__ variable with 0xFF bytes when the first thread of a block comes to it.
STAND_IN_API void shared_enter(void* variable, size_t bytes, unsigned long long& epoch);
}  // namespace stand_in
