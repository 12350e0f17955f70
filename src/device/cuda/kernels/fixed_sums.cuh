// Deterministic sums whose order depends only on the shapes: tree reduction over the lanes of a warp, sequential over
// warps and blocks.
#pragma once

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Sum over a full warp, broadcast to every lane.
template <typename S> __device__ __forceinline__ S warp_sum(S v) {
  for (int step = WARP / 2; step > 0; step /= 2) v += __shfl_xor_sync(ALL_LANES, v, step);
  return v;
}

// Sum over a block of full warps, broadcast to every thread.
template <typename S> __device__ S block_sum(S v) {
  __shared__ S warps[WARP];
  v = warp_sum(v);
  __syncthreads(); // the previous call's sums have been read
  if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = v;
  __syncthreads();
  S sum = 0;
  for (int i = 0; i < (int)blockDim.x / WARP; ++i) sum += warps[i];
  return sum;
}

// Block-stride loop over the block's contiguous run.
#define FOR_RUN(i, n)                                                                       \
  for (long long run_ = ((n) + gridDim.x - 1) / gridDim.x, i = run_ * blockIdx.x + threadIdx.x, \
                 end_ = run_ * (blockIdx.x + 1) < (n) ? run_ * (blockIdx.x + 1) : (n);      \
       i < end_; i += blockDim.x)

// The row of a warp, with one warp per row.
__device__ __forceinline__ long long warp_row() {
  return (long long)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
}
