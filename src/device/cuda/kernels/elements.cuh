// Element types of the kernels. T is the storage type, Sum<T> the compute type: float, or double for gradient checks.
// Kernels are extern "C" and end in the type name: _f32, _f64, _bf16.
#pragma once
#include <cuda_bf16.h>

template <typename T> struct SumOf { using type = float; };
template <> struct SumOf<double> { using type = double; };
template <typename T> using Sum = typename SumOf<T>::type;

__device__ __forceinline__ float load(float v) { return v; }
__device__ __forceinline__ double load(double v) { return v; }
__device__ __forceinline__ float load(__nv_bfloat16 v) { return __bfloat162float(v); }

template <typename T> __device__ __forceinline__ T store(Sum<T> v) { return v; }
template <> __device__ __forceinline__ __nv_bfloat16 store<__nv_bfloat16>(float v) { return __float2bfloat16_rn(v); }

// Grid-stride loop over i.
#define FOR_ELEMENTS(i, n)                                                              \
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < (n);         \
       i += (long long)gridDim.x * blockDim.x)

// A 16-byte vector of elements.
template <typename T> struct alignas(16) Vector {
  static constexpr int width = 16 / sizeof(T);
  T at[width];
};

// max(x, 0) that propagates NaN, and its gradient: 0 at 0.
template <typename S> __device__ __forceinline__ S rectify(S x) { return x <= S(0) ? S(0) : x; }
template <typename S> __device__ __forceinline__ S gate(S x, S gradient) { return x <= S(0) ? S(0) : gradient; }

// `value` where x is positive, else slope times it: leaky ReLU of x itself and its gradient. 0, not 0·∞, without slope.
template <typename S> __device__ __forceinline__ S leak(S x, S value, S slope) {
  return x <= S(0) ? (slope == S(0) ? S(0) : slope * value) : value;
}

// Instantiates MACRO(T, name) for every element type.
#define FOR_EACH_TYPE(MACRO) MACRO(float, f32) MACRO(double, f64) MACRO(__nv_bfloat16, bf16)
// Types of losses and updates.
#define FOR_EACH_WIDE_TYPE(MACRO) MACRO(float, f32) MACRO(double, f64)
