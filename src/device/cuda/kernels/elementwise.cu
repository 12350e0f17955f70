// Activations and their gradients; conversion between element types.
//
// Processes 16 bytes at a time if all addresses are aligned; the remainder, or everything if unaligned, element by
// element.
#include "packs.cuh"

template <typename... P> __device__ __forceinline__ bool aligned(P... addresses) {
  return ((reinterpret_cast<unsigned long long>(addresses) % 16 == 0) && ...);
}

// y[i] = f(x[i])
template <typename T, typename F> __device__ void map(const T* x, T* y, long long n, F f) {
  constexpr int N = WIDE<T>;
  const long long packs = aligned(x, y) ? n / N : 0;
  FOR_ELEMENTS(i, packs) {
    Sum<T> v[N];
    load_pack<N>(x + i * N, v);
#pragma unroll
    for (int k = 0; k < N; k++) v[k] = f(v[k]);
    store_pack<N>(v, y + i * N);
  }
  FOR_ELEMENTS(i, n - packs * N) y[packs * N + i] = store<T>(f(load(x[packs * N + i])));
}

// dx[i] = f(y[i], dy[i]), where y is the output of an activation.
template <typename T, typename F> __device__ void map_gradient(const T* y, const T* dy, T* dx, long long n, F f) {
  constexpr int N = WIDE<T>;
  const long long packs = aligned(y, dy, dx) ? n / N : 0;
  FOR_ELEMENTS(i, packs) {
    Sum<T> v[N], g[N];
    load_pack<N>(y + i * N, v);
    load_pack<N>(dy + i * N, g);
#pragma unroll
    for (int k = 0; k < N; k++) g[k] = f(v[k], g[k]);
    store_pack<N>(g, dx + i * N);
  }
  FOR_ELEMENTS(j, n - packs * N) {
    const long long i = packs * N + j;
    dx[i] = store<T>(f(load(y[i]), load(dy[i])));
  }
}

// The activations and their gradients, from their value y.
template <typename S> struct Relu {
  S slope;
  __device__ S operator()(S x) const { return leak(x, x, slope); }
  __device__ S operator()(S y, S dy) const { return leak(y, dy, slope); }
};
template <typename S> struct Tanh {
  __device__ S operator()(S x) const { return tanh(x); }
  __device__ S operator()(S y, S dy) const { return dy * (S(1) - y * y); }
};
template <typename S> struct Sigmoid {
  __device__ S operator()(S x) const { return S(1) / (S(1) + exp(-x)); }
  __device__ S operator()(S y, S dy) const { return dy * (y * (S(1) - y)); }
};

#define DEFINE(T, name)                                                                                                \
  extern "C" __global__ void relu_##name(const T* x, T* y, long long n, double slope) {                                \
    map(x, y, n, Relu<Sum<T>>{Sum<T>(slope)});                                                                         \
  }                                                                                                                    \
  extern "C" __global__ void relu_gradient_##name(const T* y, const T* dy, T* dx, long long n, double slope) {         \
    map_gradient(y, dy, dx, n, Relu<Sum<T>>{Sum<T>(slope)});                                                           \
  }
FOR_EACH_TYPE(DEFINE)

#define DEFINE_WIDE(T, name)                                                                                           \
  extern "C" __global__ void tanh_##name(const T* x, T* y, long long n) { map(x, y, n, Tanh<Sum<T>>()); }              \
  extern "C" __global__ void tanh_gradient_##name(const T* y, const T* dy, T* dx, long long n) {                       \
    map_gradient(y, dy, dx, n, Tanh<Sum<T>>());                                                                        \
  }                                                                                                                    \
  extern "C" __global__ void sigmoid_##name(const T* x, T* y, long long n) { map(x, y, n, Sigmoid<Sum<T>>()); }        \
  extern "C" __global__ void sigmoid_gradient_##name(const T* y, const T* dy, T* dx, long long n) {                    \
    map_gradient(y, dy, dx, n, Sigmoid<Sum<T>>());                                                                     \
  }
FOR_EACH_WIDE_TYPE(DEFINE_WIDE)

extern "C" __global__ void narrow_f32_bf16(const float* x, __nv_bfloat16* y, long long n) {
  constexpr int N = WIDE<__nv_bfloat16>;
  const long long packs = aligned(x, y) ? n / N : 0;
  FOR_ELEMENTS(i, packs) {
    float v[N], part[N / 2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      load_pack<N / 2>(x + i * N + half * N / 2, part);
#pragma unroll
      for (int k = 0; k < N / 2; k++) v[half * N / 2 + k] = part[k];
    }
    store_pack<N>(v, y + i * N);
  }
  FOR_ELEMENTS(i, n - packs * N) y[packs * N + i] = store<__nv_bfloat16>(x[packs * N + i]);
}

extern "C" __global__ void widen_bf16_f32(const __nv_bfloat16* x, float* y, long long n) {
  constexpr int N = WIDE<__nv_bfloat16>;
  const long long packs = aligned(x, y) ? n / N : 0;
  FOR_ELEMENTS(i, packs) {
    float v[N], part[N / 2];
    load_pack<N>(x + i * N, v);
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int k = 0; k < N / 2; k++) part[k] = v[half * N / 2 + k];
      store_pack<N / 2>(part, y + i * N + half * N / 2);
    }
  }
  FOR_ELEMENTS(i, n - packs * N) y[packs * N + i] = load(x[packs * N + i]);
}
