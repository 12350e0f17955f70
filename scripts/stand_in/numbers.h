// The small number types of device code, for the host compiler: bf16, f16, their pairs, and fp8 e4m3.
// Arithmetic is done in f32 and rounded once to the nearest (ties to even), which for one operation
// on these types equals the direct rounding.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace stand_in {
template <class To, class From>
inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

// f64 to f32 by rounding to odd, so that a second rounding to fewer bits is the right one.
inline float to_odd(double d) {
  float f = static_cast<float>(d);
  if (static_cast<double>(f) == d || d != d || std::isinf(f)) return f;
  if (std::fabs(static_cast<double>(f)) > std::fabs(d)) f = std::nextafterf(f, 0.0f);
  return bits_as<float>(bits_as<uint32_t>(f) | 1u);
}

// A number with EXP exponent bits and MAN fraction bits, from and to f32; infinities as in IEEE 754.
template <int EXP, int MAN, bool INFINITIES = true>
inline uint32_t encode(float f) {
  const int bias = (1 << (EXP - 1)) - 1;
  const uint32_t sign = (bits_as<uint32_t>(f) >> 31) << (EXP + MAN), top = ((1u << EXP) - 1) << MAN;
  const float a = std::fabs(f);
  if (a == 0.0f) return sign;
  if (a != a) return sign | top | ((1u << MAN) - 1);
  if (std::isinf(a)) return sign | top;
  int e = 0;
  std::frexp(a, &e);
  e = e - 1 < 1 - bias ? 1 - bias : e - 1;
  const uint32_t q = static_cast<uint32_t>(std::nearbyint(std::ldexp(a, MAN - e)));
  const uint32_t code = (static_cast<uint32_t>(e + bias) << MAN) + q - (1u << MAN);
  return sign | (INFINITIES && code > top ? top : code);
}
template <int EXP, int MAN>
inline float decode(uint32_t code) {
  const int bias = (1 << (EXP - 1)) - 1;
  const uint32_t man = code & ((1u << MAN) - 1), e = code >> MAN & ((1u << EXP) - 1);
  float a = e ? std::ldexp(static_cast<float>(man | 1u << MAN), static_cast<int>(e) - bias - MAN)
              : std::ldexp(static_cast<float>(man), 1 - bias - MAN);
  if (e == (1u << EXP) - 1) a = man ? NAN : INFINITY;
  return code >> (EXP + MAN) & 1 ? -a : a;
}
}  // namespace stand_in

struct __nv_bfloat16_raw {
  unsigned short x;
};
struct __half_raw {
  unsigned short x;
};

struct alignas(2) __nv_bfloat16 {
  unsigned short __x;
  __nv_bfloat16() = default;
  __nv_bfloat16(__nv_bfloat16_raw r) : __x(r.x) {}
  template <class A, class = std::enable_if_t<std::is_arithmetic<A>::value>>
  __nv_bfloat16(A a) : __x(round(std::is_same<A, float>::value ? static_cast<float>(a)
                                                               : stand_in::to_odd(static_cast<double>(a)))) {}
  operator float() const { return stand_in::bits_as<float>(uint32_t(__x) << 16); }
  static unsigned short round(float f) {
    const uint32_t u = stand_in::bits_as<uint32_t>(f);
    if (f != f) return 0x7FFF;
    return static_cast<unsigned short>((u + 0x7FFF + (u >> 16 & 1)) >> 16);
  }
};
struct alignas(2) __half {
  unsigned short __x;
  __half() = default;
  __half(__half_raw r) : __x(r.x) {}
  template <class A, class = std::enable_if_t<std::is_arithmetic<A>::value>>
  __half(A a) : __x(round(std::is_same<A, float>::value ? static_cast<float>(a)
                                                        : stand_in::to_odd(static_cast<double>(a)))) {}
  operator float() const { return stand_in::decode<5, 10>(__x); }
  static unsigned short round(float f) { return static_cast<unsigned short>(stand_in::encode<5, 10>(f)); }
};
using nv_bfloat16 = __nv_bfloat16;
using half = __half;

enum __nv_fp8_interpretation_t { __NV_E4M3, __NV_E5M2 };
// The largest value is 448; what is larger becomes 448, as the device's conversion does.
struct __nv_fp8_e4m3 {
  unsigned char __x;
  __nv_fp8_e4m3() = default;
  template <class A, class = std::enable_if_t<std::is_arithmetic<A>::value>>
  explicit __nv_fp8_e4m3(A a) : __x(round(stand_in::to_odd(static_cast<double>(a)))) {}
  explicit __nv_fp8_e4m3(__half h) : __x(round(h)) {}
  explicit __nv_fp8_e4m3(__nv_bfloat16 b) : __x(round(b)) {}
  static unsigned char round(float f) {
    const unsigned sign = std::signbit(f) ? 0x80 : 0;
    if (f != f) return static_cast<unsigned char>(sign | 0x7F);
    const float a = std::fabs(f);
    const unsigned code = a > 448.0f ? 0x7E : stand_in::encode<4, 3, false>(a);
    return static_cast<unsigned char>(sign | (code > 0x7E ? 0x7E : code));
  }
};
inline __half_raw __nv_cvt_fp8_to_halfraw(unsigned char x, __nv_fp8_interpretation_t) {
  const float top[8] = {256, 288, 320, 352, 384, 416, 448, NAN};
  const float a = (x & 0x78) == 0x78 ? top[x & 7] : stand_in::decode<4, 3>(x & 0x7F);
  return {__half::round(x & 0x80 ? -a : a)};
}

#define STAND_IN_ARITHMETIC(T)                                                             \
  inline T operator+(T a, T b) { return T(float(a) + float(b)); }                          \
  inline T operator-(T a, T b) { return T(float(a) - float(b)); }                          \
  inline T operator*(T a, T b) { return T(float(a) * float(b)); }                          \
  inline T operator/(T a, T b) { return T(float(a) / float(b)); }                          \
  inline T operator-(T a) { return T(-float(a)); }                                         \
  inline T& operator+=(T& a, const T& b) { return a = a + b; }                             \
  inline T& operator-=(T& a, const T& b) { return a = a - b; }                             \
  inline T& operator*=(T& a, const T& b) { return a = a * b; }                             \
  inline T& operator/=(T& a, const T& b) { return a = a / b; }                             \
  inline bool operator==(T a, T b) { return float(a) == float(b); }                        \
  inline bool operator!=(T a, T b) { return float(a) != float(b); }                        \
  inline bool operator<(T a, T b) { return float(a) < float(b); }                          \
  inline bool operator<=(T a, T b) { return float(a) <= float(b); }                        \
  inline bool operator>(T a, T b) { return float(a) > float(b); }                          \
  inline bool operator>=(T a, T b) { return float(a) >= float(b); }                        \
  inline T __hadd(T a, T b) { return a + b; }                                              \
  inline T __hsub(T a, T b) { return a - b; }                                              \
  inline T __hmul(T a, T b) { return a * b; }                                              \
  inline T __hdiv(T a, T b) { return a / b; }                                              \
  inline T __hfma(T a, T b, T c) { return T(double(float(a)) * float(b) + float(c)); }     \
  inline T __hneg(T a) { return -a; }                                                      \
  inline T __habs(T a) { return T(std::fabs(float(a))); }                                  \
  inline T __hmax(T a, T b) { return T(std::fmax(float(a), float(b))); }                   \
  inline T __hmin(T a, T b) { return T(std::fmin(float(a), float(b))); }                   \
  inline T __hmax_nan(T a, T b) { return a != a || b != b ? T(NAN) : __hmax(a, b); }       \
  inline T __hmin_nan(T a, T b) { return a != a || b != b ? T(NAN) : __hmin(a, b); }       \
  inline bool __hisnan(T a) { return a != a; }                                             \
  inline T hsqrt(T a) { return T(std::sqrt(float(a))); }                                   \
  inline T hrsqrt(T a) { return T(1.0 / std::sqrt(double(float(a)))); }                    \
  inline T hexp(T a) { return T(std::exp(float(a))); }                                     \
  inline T hlog(T a) { return T(std::log(float(a))); }                                     \
  inline T hcos(T a) { return T(std::cos(float(a))); }                                     \
  inline T hsin(T a) { return T(std::sin(float(a))); }
STAND_IN_ARITHMETIC(__nv_bfloat16)
STAND_IN_ARITHMETIC(__half)
#undef STAND_IN_ARITHMETIC

inline float __bfloat162float(__nv_bfloat16 a) { return a; }
inline __nv_bfloat16 __float2bfloat16(float a) { return __nv_bfloat16(a); }
inline __nv_bfloat16 __float2bfloat16_rn(float a) { return __nv_bfloat16(a); }
inline __nv_bfloat16 __double2bfloat16(double a) { return __nv_bfloat16(a); }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 a) { return a.__x; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short a) { return __nv_bfloat16_raw{a}; }
inline float __half2float(__half a) { return a; }
inline __half __float2half(float a) { return __half(a); }
inline __half __float2half_rn(float a) { return __half(a); }
inline __half __double2half(double a) { return __half(a); }
inline unsigned short __half_as_ushort(__half a) { return a.__x; }
inline __half __ushort_as_half(unsigned short a) { return __half_raw{a}; }

#define STAND_IN_PAIR(T2, T)                                                                   \
  struct alignas(4) T2 {                                                                       \
    T x, y;                                                                                    \
    T2() = default;                                                                            \
    T2(T a, T b) : x(a), y(b) {}                                                               \
  };                                                                                           \
  inline T2 __hadd2(T2 a, T2 b) { return {a.x + b.x, a.y + b.y}; }                             \
  inline T2 __hsub2(T2 a, T2 b) { return {a.x - b.x, a.y - b.y}; }                             \
  inline T2 __hmul2(T2 a, T2 b) { return {a.x * b.x, a.y * b.y}; }                             \
  inline T2 __h2div(T2 a, T2 b) { return {a.x / b.x, a.y / b.y}; }                             \
  inline T2 __hfma2(T2 a, T2 b, T2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
STAND_IN_PAIR(__nv_bfloat162, __nv_bfloat16)
STAND_IN_PAIR(__half2, __half)
#undef STAND_IN_PAIR
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) { return {a, b}; }
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 a) { return {a, a}; }
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 a) { return a.x; }
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 a) { return a.y; }
inline float __low2float(__nv_bfloat162 a) { return a.x; }
inline float __high2float(__nv_bfloat162 a) { return a.y; }
