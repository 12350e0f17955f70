// Rows of C channels, accessed in packs of N adjacent channels: 16 bytes if C allows it, or one element. A block is
// lanes × rows of threads; each lane processes fixed channels, with their constants in registers, and iterates over
// the rows.
#pragma once
#include "elements.cuh"

template <typename T, int N> struct alignas(sizeof(T) * N) Pack { T v[N]; };

// Elements per 16 bytes.
template <typename T> constexpr int WIDE = 16 / sizeof(T);

template <int N, typename T> __device__ __forceinline__ void load_pack(const T* from, Sum<T> (&to)[N]) {
  if constexpr (N == 1) {
    to[0] = load(*from);
  } else {
    static_assert(sizeof(T) * N == sizeof(uint4), "a pack of several is 16 bytes");
    union { uint4 bits; Pack<T, N> pack; } both = {*reinterpret_cast<const uint4*>(from)};
#pragma unroll
    for (int n = 0; n < N; n++) to[n] = load(both.pack.v[n]);
  }
}

template <int N, typename T> __device__ __forceinline__ void store_pack(const Sum<T> (&from)[N], T* to) {
  if constexpr (N == 1) {
    *to = store<T>(from[0]);
  } else {
    union { uint4 bits; Pack<T, N> pack; } both = {uint4()};
#pragma unroll
    for (int n = 0; n < N; n++) both.pack.v[n] = store<T>(from[n]);
    *reinterpret_cast<uint4*>(to) = both.bits;
  }
}

// The first channel of this thread in tile number `tile`.
template <int N> __device__ __forceinline__ int first_channel(int tile) {
  return (tile * blockDim.x + threadIdx.x) * N;
}
