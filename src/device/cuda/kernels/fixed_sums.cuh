// Sums in an order that the shapes alone decide: lanes of a warp by halves, warps of a block and blocks of a grid in turn.
#pragma once

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Over the lanes of a full warp, for every lane.
template <typename S> __device__ __forceinline__ S warp_sum(S v) {
  for (int step = WARP / 2; step > 0; step /= 2) v += __shfl_xor_sync(ALL_LANES, v, step);
  return v;
}

// Over the threads of a block of full warps, for every thread.
template <typename S> __device__ S block_sum(S v) {
  __shared__ S warps[WARP];
  v = warp_sum(v);
  __syncthreads(); // the sums of the call before have been read
  if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = v;
  __syncthreads();
  S sum = 0;
  for (int i = 0; i < (int)blockDim.x / WARP; ++i) sum += warps[i];
  return sum;
}

// The elements of a thread where each block has a run of its own: i from the run's beginning on, a block apart.
#define FOR_RUN(i, n)                                                                       \
  for (long long run_ = ((n) + gridDim.x - 1) / gridDim.x, i = run_ * blockIdx.x + threadIdx.x, \
                 end_ = run_ * (blockIdx.x + 1) < (n) ? run_ * (blockIdx.x + 1) : (n);      \
       i < end_; i += blockDim.x)

// The row of a warp, where each row has one.
__device__ __forceinline__ long long warp_row() {
  return (long long)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
}
