// Kernels of the self-test of the stand-in: they use each part of the device language once.
#include <cuda_bf16.h>

struct Line {
  float slope;
  int offset;
};

extern "C" __global__ void check_saxpy(float a, const float* x, float* y, long n) {
  const long i = blockIdx.x * (long)blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}

extern "C" __global__ void check_line(Line line, const __nv_bfloat16* x, __nv_bfloat16* y, long n) {
  for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < n; i += (long)blockDim.x * gridDim.x)
    y[i] = __float2bfloat16(__bfloat162float(x[i]) * line.slope + (float)line.offset);
}

template <typename T>
__device__ T warp_sum(T v) {
  for (int d = 16; d > 0; d >>= 1) v += __shfl_down_sync(0xffffffff, v, d);
  return v;
}

// The sum of a block's values by shuffles and shared memory, and how many of them are above 0.
extern "C" __global__ void __launch_bounds__(256) check_block_sum(const float* x, float* sums, unsigned int* above, long n) {
  __shared__ float part[32];
  const long i = blockIdx.x * (long)blockDim.x + threadIdx.x;
  const float v = i < n ? x[i] : 0.0f;
  const float s = warp_sum(v);
  const unsigned int votes = __ballot_sync(0xffffffff, v > 0.0f);
  if (threadIdx.x % 32 == 0) {
    part[threadIdx.x / 32] = s;
    atomicAdd(above, (unsigned int)__popc(votes));
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    const float t = warp_sum(threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0.0f);
    if (threadIdx.x == 0) sums[blockIdx.x] = t;
  }
}

// Turns a block's values round through dynamic shared memory.
extern "C" __global__ void check_reverse(const float* x, float* y) {
  extern __shared__ float all[];
  all[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  y[blockIdx.x * blockDim.x + threadIdx.x] = all[blockDim.x - 1 - threadIdx.x];
}

// Reads shared memory that no thread has written: the answer is NaN.
extern "C" __global__ void check_unwritten(float* y) {
  __shared__ float never[4];
  y[threadIdx.x] = never[threadIdx.x % 4];
}

// Half of the threads wait where the others never come.
extern "C" __global__ void check_deadlock(float* y) {
  if (threadIdx.x % 2 == 0) __syncthreads();
  else __syncwarp();
  y[threadIdx.x] = 1.0f;
}
