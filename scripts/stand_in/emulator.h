// CUDA C++ for the host compiler: enough of the device language to compile plain kernels. It stands
// in for the toolkit's own headers; prepare_kernels.py rewrites the __shared__ declarations first.
#pragma once
#include <algorithm>
#include <cassert>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <math.h>
#include <stdint.h>
#include <tuple>

#include "fibers.h"
#include "numbers.h"

#define __CUDACC__ 1
#define __CUDA_ARCH__ 900
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define CUDA_VERSION 13000
#define CUDART_VERSION 13000

#ifndef __global__
#define __global__
#endif
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __inline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __restrict__ __restrict
#define __grid_constant__
#define warpSize 32

// ---- vectors ---------------------------------------------------------------------------------
#define STAND_IN_VECTOR(T, NAME, ALIGN2, ALIGN4)                                       \
  struct NAME##1 { T x; };                                                             \
  struct alignas(ALIGN2) NAME##2 { T x, y; };                                          \
  struct NAME##3 { T x, y, z; };                                                       \
  struct alignas(ALIGN4) NAME##4 { T x, y, z, w; };                                    \
  inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                           \
  inline NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; }                   \
  inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
STAND_IN_VECTOR(float, float, 8, 16)
STAND_IN_VECTOR(double, double, 16, 16)
STAND_IN_VECTOR(int, int, 8, 16)
STAND_IN_VECTOR(unsigned int, uint, 8, 16)
STAND_IN_VECTOR(signed char, char, 2, 4)
STAND_IN_VECTOR(unsigned char, uchar, 2, 4)
STAND_IN_VECTOR(short, short, 4, 8)
STAND_IN_VECTOR(unsigned short, ushort, 4, 8)
STAND_IN_VECTOR(long long, longlong, 16, 16)
STAND_IN_VECTOR(unsigned long long, ulonglong, 16, 16)
#undef STAND_IN_VECTOR
using dim3 = uint3;

#define threadIdx (stand_in::stand_in_thread)
#define blockIdx (stand_in::stand_in_block)
#define blockDim (stand_in::stand_in_block_dim)
#define gridDim (stand_in::stand_in_grid_dim)

// ---- barriers and warps ----------------------------------------------------------------------
#define __syncthreads() stand_in::barrier(__LINE__)
inline void __syncwarp(unsigned mask = ~0u) {
  stand_in::warp_operation(stand_in::WarpKind::Sync, mask, 0, 0);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline unsigned __activemask() { return stand_in::active_lanes(); }

namespace stand_in {
template <class T>
T shuffle(unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= 8, "shuffles move at most 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = warp_operation(WarpKind::Shuffle, mask, bits, source);
  memcpy(&value, &bits, sizeof value);
  return value;
}
}  // namespace stand_in
template <class T>
T __shfl_sync(unsigned mask, T v, int source, int width = 32) {
  const int lane = static_cast<int>(stand_in::lane_number());
  return stand_in::shuffle(mask, v, lane / width * width + (source & (width - 1)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  const int lane = static_cast<int>(stand_in::lane_number()), to = lane - static_cast<int>(delta);
  return stand_in::shuffle(mask, v, to < lane / width * width ? lane : to);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  const int lane = static_cast<int>(stand_in::lane_number()), to = lane + static_cast<int>(delta);
  return stand_in::shuffle(mask, v, to >= (lane / width + 1) * width ? lane : to);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int flip, int width = 32) {
  const int lane = static_cast<int>(stand_in::lane_number()), to = lane ^ flip;
  return stand_in::shuffle(mask, v, to >= (lane / width + 1) * width ? lane : to);
}
inline unsigned __ballot_sync(unsigned mask, int yes) {
  return static_cast<unsigned>(stand_in::warp_operation(stand_in::WarpKind::Ballot, mask, yes != 0, 0));
}
inline int __any_sync(unsigned mask, int yes) { return __ballot_sync(mask, yes) != 0; }
inline int __all_sync(unsigned mask, int yes) { return __ballot_sync(mask, !yes) == 0; }

// ---- memory ----------------------------------------------------------------------------------
template <class T> T __ldg(const T* p) { return *p; }
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> void __stcs(T* p, T v) { *p = v; }
// One host thread runs all device threads, and changes between them only at barriers.
template <class T, class F>
T stand_in_atomic(T* p, F next) {
  const T old = *p;
  *p = next(old);
  return old;
}
template <class T> struct stand_in_same { using type = T; };
template <class T> using stand_in_as = typename stand_in_same<T>::type;
template <class T> T atomicAdd(T* p, stand_in_as<T> v) { return stand_in_atomic(p, [&](T o) { return T(o + v); }); }
template <class T> T atomicSub(T* p, stand_in_as<T> v) { return stand_in_atomic(p, [&](T o) { return T(o - v); }); }
template <class T> T atomicMax(T* p, stand_in_as<T> v) { return stand_in_atomic(p, [&](T o) { return o < v ? v : o; }); }
template <class T> T atomicMin(T* p, stand_in_as<T> v) { return stand_in_atomic(p, [&](T o) { return v < o ? v : o; }); }
template <class T> T atomicOr(T* p, stand_in_as<T> v) { return stand_in_atomic(p, [&](T o) { return T(o | v); }); }
template <class T> T atomicAnd(T* p, stand_in_as<T> v) { return stand_in_atomic(p, [&](T o) { return T(o & v); }); }
template <class T> T atomicExch(T* p, stand_in_as<T> v) { return stand_in_atomic(p, [&](T) { return v; }); }
template <class T> T atomicCAS(T* p, stand_in_as<T> expected, stand_in_as<T> v) {
  return stand_in_atomic(p, [&](T o) { return o == expected ? v : o; });
}

// ---- numbers ---------------------------------------------------------------------------------
template <class A, class B, class = std::enable_if_t<std::is_arithmetic<A>::value && std::is_arithmetic<B>::value>>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using C = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point<C>::value) return std::fmin(C(a), C(b));
  else return C(b) < C(a) ? C(b) : C(a);
}
template <class A, class B, class = std::enable_if_t<std::is_arithmetic<A>::value && std::is_arithmetic<B>::value>>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using C = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point<C>::value) return std::fmax(C(a), C(b));
  else return C(a) < C(b) ? C(b) : C(a);
}
inline int __float_as_int(float a) { return stand_in::bits_as<int>(a); }
inline unsigned __float_as_uint(float a) { return stand_in::bits_as<unsigned>(a); }
inline float __int_as_float(int a) { return stand_in::bits_as<float>(a); }
inline float __uint_as_float(unsigned a) { return stand_in::bits_as<float>(a); }
inline long long __double_as_longlong(double a) { return stand_in::bits_as<long long>(a); }
inline double __longlong_as_double(long long a) { return stand_in::bits_as<double>(a); }
inline int __float2int_rn(float a) { return static_cast<int>(std::nearbyint(a)); }
inline int __float2int_rz(float a) { return static_cast<int>(a); }
inline int __float2int_rd(float a) { return static_cast<int>(std::floor(a)); }
inline float __int2float_rn(int a) { return static_cast<float>(a); }
inline float __double2float_rn(double a) { return static_cast<float>(a); }
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
inline double rsqrt(double a) { return 1.0 / std::sqrt(a); }
inline float rsqrt(float a) { return rsqrtf(a); }
inline float normcdff(float a) { return 0.5f * std::erfc(-a * 0.70710678118654752f); }
inline double normcdf(double a) { return 0.5 * std::erfc(-a * 0.70710678118654752440); }
inline float __expf(float a) { return std::exp(a); }
inline float __logf(float a) { return std::log(a); }
inline float __log2f(float a) { return std::log2(a); }
inline float __powf(float a, float b) { return std::pow(a, b); }
inline float __sinf(float a) { return std::sin(a); }
inline float __cosf(float a) { return std::cos(a); }
inline float __saturatef(float a) { return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __frsqrt_rn(float a) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(a))); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline int __popc(unsigned a) { return __builtin_popcount(a); }
inline int __clz(int a) { return a ? __builtin_clz(static_cast<unsigned>(a)) : 32; }
inline int __ffs(int a) { return __builtin_ffs(a); }
inline int __mul24(int a, int b) { return a * b; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t(a) * b >> 32); }

namespace cuda {
namespace std {
template <class T> struct numeric_limits : ::std::numeric_limits<T> {};
}
}  // namespace cuda

// ---- kernels by name -------------------------------------------------------------------------
namespace stand_in {
template <class A>
bool good_argument(const char*, const A&) { return true; }
template <class T>
bool good_argument(const char* name, T* const& p) {
  return p == nullptr || stand_in_on_device(p, 0, name);
}

template <auto F>
struct Kernel;
template <class... A, void (*F)(A...)>
struct Kernel<F> {
  static Work bind(const char* name, void** params) { return bind(name, params, std::index_sequence_for<A...>{}); }
  template <size_t... I>
  static Work bind(const char* name, void** params, std::index_sequence<I...>) {
    std::tuple<std::decay_t<A>...> arguments;
    (memcpy(&std::get<I>(arguments), params[I], sizeof(std::get<I>(arguments))), ...);
    if (!(good_argument(name, std::get<I>(arguments)) && ... && true)) return {};
    return [arguments] { std::apply(F, arguments); };
  }
};
}  // namespace stand_in
